"""What a running job reports: its progress and its log, written a few times a second."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nebula.errors import NebulaError
from nebula.jobs.job import Progress

if TYPE_CHECKING:
    from nebula.gpu.leases.lease import Lease
    from nebula.jobs.gate import Gate
    from nebula.jobs.record import Claim
    from nebula.jobs.service import Jobs

_EVERY_SECONDS = 0.2
_KEPT_LINES = 2000
"""How many lines wait for a database that is away; the oldest give way."""


@dataclass
class Trace:
    """What is known of a run's way; what follows an error depends on it."""

    started: bool = False
    """The tool itself was entered: before that, nothing has happened."""
    overran: bool = False
    """It took longer than its tool allows."""
    cut: bool = False
    """The tool was broken off in the middle."""


class JobRun:
    """One attempt at a job while it runs, in this process."""

    def __init__(self, claim: "Claim", jobs: "Jobs") -> None:
        """Take the claimed job, and where its reports go."""
        self.job = claim.job
        self.asked = claim.asked
        self.gated = claim.gated
        self.lease: Lease | None = None
        self.trace = Trace()
        self._jobs = jobs
        self._since = time.monotonic()
        self._progress: Progress | None = None
        self._lines: list[str] = []
        self._news = asyncio.Event()
        self._over = False

    def progress(
        self,
        fraction: float | None,
        message: str,
        *,
        step: int | None = None,
        steps: int | None = None,
    ) -> None:
        """Take how far the run is; the newest word counts."""
        if fraction is None and step is not None and steps:
            fraction = step / steps
        if fraction is not None:
            fraction = min(1.0, max(0.0, fraction))
        self._progress = Progress(
            fraction=fraction,
            step=step,
            steps=steps,
            message=message,
            eta_seconds=self._eta(fraction),
        )
        self._news.set()

    def log(self, text: str) -> None:
        """Take lines for the log."""
        self._lines += text.splitlines() or [""]
        del self._lines[:-_KEPT_LINES]
        self._news.set()

    @contextlib.asynccontextmanager
    async def holding(self, gate: "Gate | None") -> AsyncIterator[None]:
        """Hold the GPU that the gate gave the job, if it needs one, around its tool."""
        if not self.gated or gate is None:
            yield
            return
        async with gate.lease(self.job.id) as self.lease:
            try:
                yield
            except asyncio.CancelledError:
                self.trace.cut = True  # the gate may turn it into an error: the lease is gone
                raise

    @contextlib.asynccontextmanager
    async def reporting(self) -> AsyncIterator[None]:
        """Write what the run reports while it goes on, and the rest when it ends."""
        writing = asyncio.create_task(self._write_on(), name=f"reports of {self.job.id}")
        try:
            yield
        finally:
            self._over = True
            self._news.set()
            await asyncio.shield(writing)

    async def _write_on(self) -> None:
        while not self._over:
            await self._news.wait()
            self._news.clear()
            await self._write()
            if not self._over:
                await asyncio.sleep(_EVERY_SECONDS)
        await self._write()

    async def _write(self) -> None:
        """Write what is new; what the database does not take now is kept for the next time."""
        lines, self._lines = self._lines, []
        progress, self._progress = self._progress, None
        try:
            if lines:
                await self._jobs.append_log(self.job.id, *lines)
                lines = []
            if progress is not None:
                attempt = self.job.attempts
                await self._jobs.progress(self.job.id, progress, attempt=attempt)
        except NebulaError:
            self._lines[:0] = lines
            self._progress = self._progress or progress
            self._news.set()

    def _eta(self, fraction: float | None) -> float | None:
        if not fraction:
            return None
        elapsed = time.monotonic() - self._since
        return round(elapsed * (1 - fraction) / fraction, 1)
