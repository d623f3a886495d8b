"""What happened, as every follower sees it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote


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

    @cached_property
    def frame(self) -> bytes:
        """Return the event as a server-sent event, its id `<stream>=<seq>`; made once for all."""
        head = f"id: {quote(self.stream, safe='')}={self.seq}\nevent: {self.kind}\ndata: "
        return head.encode() + self.json + b"\n\n"


@dataclass(frozen=True)
class Batch:
    """Events of one stream in order, as several followers receive them together."""

    events: Sequence[Event]

    @cached_property
    def owners(self) -> frozenset[str | None]:
        """Return whose events these are."""
        return frozenset(event.owner for event in self.events)

    @cached_property
    def frames(self) -> bytes:
        """Return all of them as server-sent events; made once for all followers."""
        return b"".join(event.frame for event in self.events)

    @property
    def last(self) -> int:
        """Return the highest number."""
        return self.events[-1].seq
