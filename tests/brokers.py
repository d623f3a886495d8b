"""A broker over a map that the test writes, with fakes on the test's network."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import pytest

from nebula.db.engine import Database
from nebula.events.bus import Events
from nebula.gpu.nvml import Nvml
from nebula.gpu.open import Gpu, open_gpu
from nebula.gpu.reports import Limits
from nebula.settings import Settings
from tests.fakes.nvml import FakeNvml
from tests.fakes.wire import Wire

QUICK = Limits(lock=5.0, busy=0.2, freed=0.2, load=5.0, poll=0.01)

Opener = Callable[..., AbstractAsyncContextManager[Gpu]]


@pytest.fixture
def open_broker(settings: Settings, wire: Wire) -> Opener:
    """Give a function that opens a directory and a broker over the text of a map."""

    @asynccontextmanager
    async def opened(
        text: str, *, nvml: FakeNvml | None = None, limits: Limits = QUICK
    ) -> AsyncIterator[Gpu]:
        settings.service_map.write_text(text)
        library = nvml or FakeNvml(cards=[])
        async with (
            httpx.AsyncClient(transport=wire) as http,
            Database(settings.database_url) as db,
            Events(db) as events,
            open_gpu(
                settings,
                http,
                settings.database_url,
                events,
                nvml=Nvml(lambda: library),
                limits=limits,
                watch=False,
            ) as parts,
        ):
            yield parts

    return opened
