"""What command mode makes of a sentence."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field

from nebula.tool import result


@dataclass(frozen=True)
class Call:
    """One tool call with validated arguments."""

    name: str
    arguments: dict[str, Any]


class Asked(BaseModel):
    """Which argument a question asks for, and what is known already."""

    tool: str
    parameter: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class Choices(result.Choices):
    """A question with up to ten answers; the next message may pick one or fill the argument."""

    asked: Asked | None = None


@dataclass(frozen=True)
class Reply:
    """A plain answer that needs no tool: a greeting, help."""

    text: str


@dataclass(frozen=True)
class Unknown(Reply):
    """Nothing fits; the text says so and names what can be done."""


Answer = Call | Choices | Reply
