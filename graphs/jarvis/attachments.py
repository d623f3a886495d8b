"""Files that come with a message: text is read along, as text from outside; pictures are seen."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from graphs.wording import delimited
from nebula.errors import InvalidInput, TooLarge

_LONGEST = 32_000
_MOST = 10
_LARGEST_PICTURE = 8 * 1024 * 1024
_PICTURES = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
_READABLE = ("text/", "application/json", "application/xml", "application/x-yaml")


class Attachment(BaseModel):
    """A file that a person put beside a message."""

    model_config = ConfigDict(frozen=True)

    name: str
    media_type: str
    content: bytes

    @property
    def is_picture(self) -> bool:
        """Say whether a model that sees can be shown it."""
        return self.media_type in _PICTURES

    @property
    def shown_name(self) -> str:
        """Return its name as it stands in a message."""
        return " ".join(self.name.split()).replace('"', "'")


def with_attachments(said: str, attachments: Sequence[Attachment]) -> str:
    """Return the message with the files' text below it, and its pictures named.

    Raises:
        TooLarge: when there are too many files or too much text.
        InvalidInput: for a file that is neither text nor a picture; the knowledge tools read
            those.
    """
    if len(attachments) > _MOST:
        raise TooLarge(f"At most {_MOST} files fit beside one message")
    parts = [said]
    for attachment in attachments:
        if attachment.is_picture:
            parts.append(_named(attachment))
            continue
        if not attachment.media_type.startswith(_READABLE):
            raise InvalidInput(
                f"{attachment.name} is neither a text file nor a picture",
                hint="Add it to the knowledge first, then ask about it.",
            )
        text = attachment.content.decode("utf-8", errors="replace")
        if len(text) > _LONGEST:
            raise TooLarge(
                f"{attachment.name} is too long to read along",
                hint="Add it to the knowledge first, then ask about it.",
            )
        parts.append(delimited(text, attachment.shown_name))
    return "\n\n".join(parts)


def _named(picture: Attachment) -> str:
    if len(picture.content) > _LARGEST_PICTURE:
        raise TooLarge(f"{picture.name} is larger than 8 MiB", hint="Make it smaller first.")
    if not picture.content:
        raise InvalidInput(f"{picture.name} is empty", hint="Attach it again.")
    return f"[picture: {picture.shown_name}]"
