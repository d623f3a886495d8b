"""One Discord, one App and one bot per file: opening them takes longer than most tests."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from nebula.settings import Settings
from tests.database import TestServer
from tests.graphs.lab import DONE, GATE
from tests.ui.discord.house import House, house


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(
    request: pytest.FixtureRequest,
    postgres: TestServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[House]:
    """Open the house for one file of tests, with the tools that it names in MORE_TOOLS."""
    more = getattr(request.module, "MORE_TOOLS", ())
    folder = tmp_path_factory.mktemp("home")
    with postgres.clone() as url:
        settings = Settings(
            _env_file=None,
            home=folder,
            database_url=postgres.as_app(url),
            database_owner_url=url,
            ollama_host="http://ollama.test",
            openai_base_url="http://openai.test/v1",
            service_map=folder / "service-map.yml",
            warm_start=False,
            workers=0,
        )
        async with house(settings, more) as opened:
            yield opened


@pytest.fixture
def lingering_tasks() -> Iterator[None]:
    """Tasks outlive a test here: the bot is shared by a file."""
    yield


@pytest.fixture(autouse=True)
def _fresh() -> None:
    DONE.clear()
    GATE.event = asyncio.Event()
