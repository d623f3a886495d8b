"""The gate of jobs: a job waits here for its card, and works under a lease."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.principal import ProgressSink
from nebula.errors import InvalidInput, UpstreamUnavailable
from nebula.gpu.leases.lease import Lease
from nebula.gpu.leases.ledger import Owner
from nebula.gpu.leases.need import GpuNeed
from nebula.gpu.leases.scheduler import Ready, Scheduler
from nebula.gpu.leases.service import Leases
from nebula.jobs.job import Job

ProgressOf = Callable[[str], ProgressSink]

_WITHDRAWN: Final = text(
    "UPDATE gpu_requests SET state = 'withdrawn' "
    "WHERE job_id = :job AND state IN ('waiting', 'placed')"
)
_MOVED: Final = text(
    "UPDATE gpu_requests SET priority = :priority "
    "WHERE job_id = :job AND state = 'waiting' AND priority <> :priority RETURNING id"
)
_LOST: Final = text(
    "UPDATE gpu_leases SET state = 'lost', end_reason = 'its worker is gone' "
    "WHERE job_id = :job AND state IN ('active', 'releasing') AND holder IS NOT NULL"
)


class GpuGate:
    """Admits jobs to cards; what `nebula.jobs` calls its gate."""

    def __init__(self, leases: Leases, scheduler: Scheduler, progress: ProgressOf) -> None:
        """Take what hands out leases, who decides, and where a job's progress goes."""
        self._leases = leases
        self._scheduler = scheduler
        self._progress = progress
        self._tools = leases.tools

    @property
    def _ready(self) -> Ready:
        return self._scheduler.ready

    async def admit(self, session: AsyncSession, job: Job, need: GpuNeed) -> None:
        """Write a job's wish down; a loaded model that is free is given in this transaction.

        Raises:
            InvalidInput: when its service is unknown, or nobody knows what it needs.
        """
        self._check(need)
        owner = Owner(job.owner_id, job.owner_name, job.id, job.priority)
        if await self._leases.take_warm(session, need, owner) is not None:
            await self._ready(session, job.id)
            return
        await self._tools.ledger.request(session, need, owner)
        self._scheduler.start()

    def _check(self, need: GpuNeed) -> None:
        if need.service is not None and self._leases.counts(need) is None:
            raise InvalidInput(
                f"{need.service} is not a GPU service of the service map",
                hint="services_list shows what there is.",
            )
        if self._tools.pictures.needed(need) is None:
            raise InvalidInput(
                f"How much VRAM {need.label} needs is not known",
                hint=f"Give {need.label} a budget (`vram:`) in service-map.yml.",
            )

    async def finished(self, session: AsyncSession, job_id: str) -> None:
        """End a job's lease: its worker saw the run end."""
        await self._tools.ledger.end_of_job(session, job_id, "the run ended")
        await session.execute(_WITHDRAWN, {"job": job_id})

    async def withdrawn(self, session: AsyncSession, job_id: str) -> None:
        """Forget a job's wish; what a dead worker held is freed when its node has stopped."""
        await session.execute(_LOST, {"job": job_id})
        # A place that nobody took up has no work in it.
        await self._tools.ledger.end_of_job(session, job_id, "the wish was withdrawn")
        await session.execute(_WITHDRAWN, {"job": job_id})

    async def moved(self, session: AsyncSession, job_id: str, priority: int) -> None:
        """Let a job's wish rank anew; a place that it has already stays its own."""
        moved = await session.execute(_MOVED, {"job": job_id, "priority": priority})
        if moved.one_or_none() is not None:
            await self._tools.ledger.notify(session)

    @asynccontextmanager
    async def lease(self, job_id: str) -> AsyncIterator[Lease]:
        """Hold a job's place around its run; the run is broken off when the place is lost.

        Raises:
            UpstreamUnavailable: when the place was given up before, or is lost meanwhile.
        """
        seconds = self._tools.settings.lease_seconds
        async with self._tools.db.session() as session:
            held = await self._tools.ledger.take_up(
                session, self._leases.holder, seconds, job=job_id
            )
        if held is None:
            raise UpstreamUnavailable("Its place on the GPU was given up; it gets another one")
        loop = asyncio.get_running_loop()
        try:
            async with (
                asyncio.timeout(None) as fence,
                self._leases.kept(
                    held,
                    self._progress(job_id),
                    lost=lambda: fence.reschedule(loop.time()),
                    ends=False,
                ) as lease,
            ):
                yield lease
        except TimeoutError as error:
            if not fence.expired():
                raise
            raise UpstreamUnavailable("It lost its place on the GPU, and was stopped") from error
