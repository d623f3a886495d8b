"""Files that come with a message: text is read along, as text from outside."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from graphs.wording import delimited
from nebula.errors import InvalidInput, TooLarge

_LONGEST = 32_000
_MOST = 10
_READABLE = ("text/", "application/json", "application/xml", "application/x-yaml")


class Attachment(BaseModel):
    """A file that a person put beside a message."""

    model_config = ConfigDict(frozen=True)

    name: str
    media_type: str
    content: bytes


def with_attachments(said: str, attachments: Sequence[Attachment]) -> str:
    """Return the message with the files' text below it.

    Raises:
        TooLarge: when there are too many files or too much text.
        InvalidInput: for a file that is not text; the knowledge tools read those.
    """
    if len(attachments) > _MOST:
        raise TooLarge(f"At most {_MOST} files fit beside one message")
    parts = [said]
    for attachment in attachments:
        if not attachment.media_type.startswith(_READABLE):
            raise InvalidInput(
                f"{attachment.name} is not a text file",
                hint="Add it to the knowledge first, then ask about it.",
            )
        text = attachment.content.decode("utf-8", errors="replace")
        if len(text) > _LONGEST:
            raise TooLarge(
                f"{attachment.name} is too long to read along",
                hint="Add it to the knowledge first, then ask about it.",
            )
        parts.append(delimited(text, attachment.name.replace('"', "'")))
    return "\n\n".join(parts)
