"""Opens the service directory and the broker over it, for the composition root."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple, Protocol

import httpx

from nebula.gpu.broker import Broker
from nebula.gpu.nvml import Nvml
from nebula.gpu.observe import Observer
from nebula.gpu.own_models import Log, OwnModels
from nebula.gpu.reports import Limits
from nebula.services.directory import Publisher, ServiceDirectory, open_directory
from nebula.settings import Settings


class EventLog(Publisher, Log, Protocol):
    """What publishes events and reads them again; `nebula.events.bus.Events` is one."""


class Gpu(NamedTuple):
    """The parts that know the cards."""

    services: ServiceDirectory
    broker: Broker
    own: OwnModels


@asynccontextmanager
async def open_gpu(
    settings: Settings,
    http: httpx.AsyncClient,
    conninfo: str,
    events: EventLog,
    *,
    nvml: Nvml | None = None,
    limits: Limits | None = None,
    watch: bool = True,
) -> AsyncIterator[Gpu]:
    """Read the service map and hand out what knows and changes the cards, until the end.

    `conninfo` is the address of the database, which holds the lock of a change.
    """
    nvml = nvml or Nvml()
    async with open_directory(settings, http, events, nvidia=nvml.present, watch=watch) as services:
        poll = (limits or Limits()).poll
        observer = Observer(http, nvml, lambda: services.map, settings.home, poll=poll)
        broker = Broker(services, observer, conninfo, events, limits)
        yield Gpu(services, broker, OwnModels(services, broker, observer, events))
