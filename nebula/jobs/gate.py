"""What stands between a job that needs a GPU and the workers; leases implement it."""

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from nebula.gpu.leases.lease import Lease
    from nebula.gpu.leases.need import GpuNeed
    from nebula.jobs.job import Job


class Gate(Protocol):
    """Admits jobs to GPUs.

    Lock order: the job's row is locked before the gate's own rows; `Jobs.ready` locks the job's
    row too, so a transaction that comes from the gate's side may be chosen to collide (Conflict)
    and is then tried again.
    """

    async def admit(self, session: "AsyncSession", job: "Job", need: "GpuNeed") -> None:
        """Record the wish of a queued job; call `Jobs.ready` when it has its place."""
        ...

    async def finished(self, session: "AsyncSession", job_id: str) -> None:
        """Free what the job's run held: the run came to an end that its worker saw."""
        ...

    async def withdrawn(self, session: "AsyncSession", job_id: str) -> None:
        """Forget the wish. A lease whose work may still run is freed when that is safe."""
        ...

    async def moved(self, session: "AsyncSession", job_id: str, priority: int) -> None:
        """Give the wish of a job that waits another priority."""
        ...

    def lease(self, job_id: str) -> "AbstractAsyncContextManager[Lease]":
        """Hold the job's place around its run: prepare the card, renew, fence."""
        ...
