"""Opens the service directory and the broker over it, for the composition root."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple, Protocol

import httpx

from nebula.auth.principal import ProgressSink
from nebula.db.engine import Database
from nebula.gpu.broker import Broker
from nebula.gpu.footprints.book import Footprints
from nebula.gpu.hands import Hands
from nebula.gpu.leases.gate import GpuGate
from nebula.gpu.leases.ledger import Ledger
from nebula.gpu.leases.picture import Pictures
from nebula.gpu.leases.scheduler import Scheduler
from nebula.gpu.leases.service import Leases
from nebula.gpu.leases.settings import LeaseSettings
from nebula.gpu.leases.signals import Signals
from nebula.gpu.leases.tools import Tools
from nebula.gpu.nvml import Nvml
from nebula.gpu.observe import Observer
from nebula.gpu.own_models import Log, OwnModels
from nebula.gpu.reports import Limits
from nebula.jobs.job import Progress
from nebula.jobs.service import Jobs
from nebula.services.directory import Publisher, ServiceDirectory, open_directory
from nebula.settings import Settings


class EventLog(Publisher, Log, Protocol):
    """What publishes events and reads them again; `nebula.events.bus.Events` is one."""


class Gpu(NamedTuple):
    """The parts that know the cards."""

    services: ServiceDirectory
    broker: Broker
    own: OwnModels
    leases: Leases
    scheduler: Scheduler


@asynccontextmanager
async def open_gpu(
    settings: Settings,
    http: httpx.AsyncClient,
    db: Database,
    events: EventLog,
    *,
    nvml: Nvml | None = None,
    limits: Limits | None = None,
    lease_settings: LeaseSettings | None = None,
    watch: bool = True,
) -> AsyncIterator[Gpu]:
    """Read the service map and hand out what knows and changes the cards, until the end.

    The scheduler begins when somebody waits in this process, or when it is started.
    """
    nvml = nvml or Nvml()
    async with open_directory(settings, http, events, nvidia=nvml.present, watch=watch) as services:
        poll = (limits or Limits()).poll
        observer = Observer(http, nvml, lambda: services.map, settings.home, poll=poll)
        hands = Hands(lambda: services.map, observer, limits or Limits())
        tools = Tools(
            db=db,
            ledger=Ledger(),
            signals=Signals(db.conninfo),
            pictures=Pictures(lambda: services.map, Footprints(db)),
            hands=hands,
            services=lambda: services.map,
            settings=lease_settings or LeaseSettings(),
            events=events,
        )
        leases = Leases(tools, partial(observer.snapshot, {}, frozenset()))
        scheduler = Scheduler(tools, leases)
        leases.schedule = scheduler.start
        broker = Broker(services, observer, hands, leases, events)
        own = OwnModels(services, leases, observer, events)
        scheduler.comebacks = own.comebacks
        try:
            yield Gpu(services, broker, own, leases, scheduler)
        finally:
            await scheduler.close()
            await leases.close()


def admit_jobs(gpu: Gpu, jobs: Jobs) -> None:
    """Let jobs that need a card wait for it at our gate."""

    def progress(job: str) -> ProgressSink:
        async def tell(fraction: float | None, message: str) -> None:
            await jobs.progress(job, Progress(fraction=fraction, message=message))

        return tell

    gpu.scheduler.ready = jobs.ready
    gpu.scheduler.waits = jobs.waits
    jobs.gate = GpuGate(gpu.leases, gpu.scheduler, progress)
