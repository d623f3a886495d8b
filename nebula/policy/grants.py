"""Standing grants: what a person has allowed for a while, for exactly these values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Grant:
    """One tool with one set of selector values, for one person, until a moment."""

    id: str
    tool: str
    selectors: Mapping[str, Any]
    principal_id: str
    expires_at: datetime

    def covers(
        self, tool: str, arguments: Mapping[str, Any], principal_id: str, now: datetime
    ) -> bool:
        """Say whether it allows a call; each selector must have the same value of the same type."""
        return (
            self.tool == tool
            and self.principal_id == principal_id
            and now < self.expires_at
            and all(
                type(arguments.get(name)) is type(value) and arguments.get(name) == value
                for name, value in self.selectors.items()
            )
        )
