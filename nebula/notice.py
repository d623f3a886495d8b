"""What its owner should look at: something of theirs stands still, and what sets it going again."""

from typing import Any, Literal

from pydantic import BaseModel


class Notice(BaseModel):
    """Something that does not go on by itself any more, shown wherever its owner looks."""

    kind: Literal["agent", "workflow"]
    id: str
    name: str
    said: str
    """What is the matter."""
    step: str
    """What to do about it, in words that any door takes."""
    tool: str = ""
    """The tool that does it, for a button; empty where there is a choice."""
    arguments: dict[str, Any] = {}
