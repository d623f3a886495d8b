"""What is known of a stored secret without its value, and how it is named."""

import re
from datetime import datetime
from typing import Final

from pydantic import BaseModel

from nebula.errors import InvalidInput
from nebula.secrets.forms import SHORTEST

DEFAULT: Final = "default"
NAME_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"
ENVIRONMENT_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9-]{0,31}$"
LONGEST: Final = 16_384
_WORDY: Final = 12
"""A shorter value has to mix letters, digits and signs: words are part of ordinary text."""


class Secret(BaseModel):
    """A secret, without its value."""

    name: str
    environment: str
    version: int
    previous: int | None
    """The version that can be restored."""
    features: list[str]
    note: str
    set_by: str
    set_at: datetime

    @property
    def reference(self) -> str:
        """Return how arguments name it."""
        return reference(self.environment, self.name)


class Use(BaseModel):
    """One time a tool was given a secret."""

    name: str
    environment: str
    version: int
    principal: str
    surface: str
    tool: str
    call_id: str
    job_id: str | None
    at: datetime


def reference(environment: str, name: str) -> str:
    """Return the reference to a secret; the environment `default` is left out."""
    return f"secret://{name}" if environment == DEFAULT else f"secret://{environment}/{name}"


def known_as(environment: str, name: str) -> tuple[str, str]:
    """Return environment and name as they are stored: upper and lower case are the same.

    Raises:
        InvalidInput: when one of them is no name.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise InvalidInput(
            f"{name[:80]!r} is not a name for a secret",
            hint="Letters, digits, _ and -, beginning with a letter, 64 characters at most.",
        )
    if not re.fullmatch(ENVIRONMENT_PATTERN, environment):
        raise InvalidInput(
            f"{environment[:80]!r} is not a name for an environment",
            hint="Letters, digits and -, beginning with a letter, such as staging.",
        )
    return environment.lower(), name.lower()


def refusal(value: str) -> str | None:
    """Say why a value cannot be a secret, or None: what cannot be told from text is not hidden."""
    if len(value) > LONGEST:
        return f"it is longer than {LONGEST} characters"
    if "\x00" in value:
        return "it holds a NUL character"
    if len(value.strip()) < SHORTEST:
        return f"it has fewer than {SHORTEST} characters"
    if len(set(value)) < 4:
        return "it has fewer than four different characters"
    kinds = {"letter" if c.isalpha() else "digit" if c.isdigit() else "sign" for c in value}
    if len(value) < _WORDY and len(kinds) == 1:
        return f"it is shorter than {_WORDY} characters and made of letters or of digits alone"
    return None
