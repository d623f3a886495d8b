"""What happened, as every follower sees it."""

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Event:
    """One event of a stream; `seq` counts from 1 without gaps until old ones are pruned."""

    stream: str
    seq: int
    kind: str
    data: dict[str, Any]
    owner: str | None
    at: datetime

    @cached_property
    def json(self) -> bytes:
        """Return the event as one line of JSON, encoded once for all its followers."""
        body = {
            "stream": self.stream,
            "seq": self.seq,
            "kind": self.kind,
            "data": self.data,
            "at": self.at.isoformat(),
        }
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
