"""A right to use memory of one card until a time, with the token that proves it."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Lease:
    """What `hold` gives: where to work, and the fencing token to show to the node.

    Tokens of one card only grow: who holds a lower one than the card has seen was declared dead.
    `should_yield` is set when the holder is asked to save its work and leave; the holder sets
    `may_run_on` when it goes without knowing that its work has stopped.
    """

    id: str
    token: int
    node: str
    gpu: int
    service: str | None
    model: str | None
    vram: int
    expires_at: datetime | None = None
    job_id: str | None = None
    warm: bool = True
    should_yield: asyncio.Event = field(default_factory=asyncio.Event, compare=False)
    may_run_on: asyncio.Event = field(default_factory=asyncio.Event, compare=False)

    @property
    def managed(self) -> bool:
        """Say whether a card stands behind it; without one (a processor) nothing is counted."""
        return self.token > 0
