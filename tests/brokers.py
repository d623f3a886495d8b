"""A broker over a map that the test writes, with fakes on the test's network."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import pytest

from nebula.db.engine import Database
from nebula.events.bus import Events
from nebula.gpu.broker import Broker
from nebula.gpu.nvml import Nvml
from nebula.gpu.open import open_gpu
from nebula.gpu.own_models import OwnModels
from nebula.gpu.reports import Limits
from nebula.services.directory import ServiceDirectory
from nebula.settings import Settings
from tests.fakes.nvml import FakeNvml
from tests.fakes.wire import Wire

QUICK = Limits(lock=5.0, busy=0.2, freed=0.2, load=5.0, poll=0.01)

Parts = tuple[ServiceDirectory, Broker, OwnModels]
Opener = Callable[..., AbstractAsyncContextManager[Parts]]


@pytest.fixture
def open_broker(settings: Settings, wire: Wire) -> Opener:
    """Give a function that opens a directory and a broker over the text of a map."""

    @asynccontextmanager
    async def opened(
        text: str, *, nvml: FakeNvml | None = None, limits: Limits = QUICK
    ) -> AsyncIterator[Parts]:
        settings.service_map.write_text(text)
        library = nvml or FakeNvml(cards=[])
        async with (
            httpx.AsyncClient(transport=wire) as http,
            Database(settings.database_url) as db,
            Events(db) as events,
            open_gpu(
                settings,
                http,
                db,
                events,
                nvml=Nvml(lambda: library),
                limits=limits,
                watch=False,
            ) as parts,
        ):
            yield parts.services, parts.broker, parts.own

    return opened
