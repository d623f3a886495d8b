"""Standing grants: what a person has allowed for a while, for exactly these values."""

import json
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
        same = self.tool == tool and self.principal_id == principal_id
        return same and now < self.expires_at and self.fits(arguments)

    def fits(self, arguments: Mapping[str, Any]) -> bool:
        """Say whether a call's selectors have the values that were granted."""
        return all(
            name in arguments and typed(arguments[name]) == typed(value)
            for name, value in self.selectors.items()
        )


def typed(value: Any) -> str:
    """Write a JSON value so that values of other types differ: 1, 1.0, true and "1"."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True)
