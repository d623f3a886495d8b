"""Opens the service directory and the broker over it, for the composition root."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from nebula.gpu.broker import Broker
from nebula.gpu.nvml import Nvml
from nebula.gpu.observe import Observer
from nebula.gpu.reports import Limits
from nebula.services.directory import Publisher, ServiceDirectory, open_directory
from nebula.settings import Settings


@asynccontextmanager
async def open_gpu(
    settings: Settings,
    http: httpx.AsyncClient,
    conninfo: str,
    events: Publisher | None,
    *,
    nvml: Nvml | None = None,
    limits: Limits | None = None,
    watch: bool = True,
) -> AsyncIterator[tuple[ServiceDirectory, Broker]]:
    """Read the service map and hand out the directory and the broker until the end.

    `conninfo` is the address of the database, which holds the lock of a change.
    """
    nvml = nvml or Nvml()
    async with open_directory(settings, http, events, nvidia=nvml.present, watch=watch) as services:
        poll = (limits or Limits()).poll
        observer = Observer(http, nvml, lambda: services.map, settings.home, poll=poll)
        yield services, Broker(services, observer, conninfo, events, limits)
