"""What every test may use: a real database, the open App, people, and no outside world."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nebula.auth.principal import Caller, Principal, Role, Surface
from nebula.auth.service import Auth
from nebula.db.engine import Database
from nebula.secrets.redact import LIVE
from nebula.secrets.vault import USED
from nebula.settings import Settings
from tests import loopback
from tests.database import TestServer, remove
from tests.fakes.wire import Wire

if TYPE_CHECKING:
    from nebula.app import App

_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"pid{os.getpid()}"
_OURS = (
    "JARVIS_",
    "OLLAMA_",
    "OPENAI_",
    "DATABASE_",
    "REDIS_",
    "CHAINLIT_",
    "LANGCHAIN_",
    "LANGSMITH_",
    "HF_",
    "CIVITAI_",
)


def pytest_configure(config: pytest.Config) -> None:
    loopback.guard()
    for name in list(os.environ):
        if name.startswith(_OURS) or name.lower().endswith("_proxy"):
            del os.environ[name]


def pytest_unconfigure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        run = getattr(config, "_nebula_run", _RUN)
        remove(run)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Remember the run's id on the controller, which cleans up after all its workers."""
    node.config._nebula_run = node.workerinput["testrunuid"]


@pytest.fixture(autouse=True)
def _no_secrets_of_other_tests() -> Iterator[None]:
    """Let no test's secrets be hidden in the texts of the next."""
    yield
    LIVE.forget(USED)


@pytest.fixture(autouse=True)
def _no_lingering_tasks(request: pytest.FixtureRequest) -> None:
    if asyncio.iscoroutinefunction(getattr(request.node, "obj", None)):
        request.getfixturevalue("lingering_tasks")


@pytest.fixture
async def lingering_tasks() -> AsyncIterator[None]:
    """Fail when a test leaves a task running that nobody awaits."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=2)
    assert not left, f"tasks still running after the test: {sorted(map(repr, left))}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[TestServer]:
    """Join the PostgreSQL of this test run."""
    with TestServer(_RUN) as server:
        yield server


@pytest.fixture
def database_url(postgres: TestServer) -> Iterator[str]:
    """Give the address of a fresh, migrated database."""
    with postgres.clone() as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Open a fresh, migrated database."""
    async with Database(database_url) as opened:
        yield opened


@pytest.fixture
def settings(tmp_path: Path, database_url: str, postgres: TestServer) -> Settings:
    """Give settings with a home and database of this test, and no model anywhere.

    The program works as a role of its own, as on a real machine; `database` is the owner's.
    """
    home = tmp_path / "home"
    home.mkdir()
    return Settings(
        _env_file=None,
        home=home,
        database_url=postgres.as_app(database_url),
        database_owner_url=database_url,
        ollama_host="http://ollama.test",
        openai_base_url="http://openai.test/v1",
        service_map=home / "service-map.yml",
        warm_start=False,
        workers=0,
    )


@pytest.fixture
def wire() -> Wire:
    """Give the test's network; mount fakes on it."""
    return Wire()


@pytest.fixture
async def app(settings: Settings, wire: Wire) -> AsyncIterator["App"]:
    """Open the whole App over the test's database and network."""
    from nebula.app import open_app

    async with open_app(settings, http_transport=wire) as opened:
        yield opened


@pytest.fixture
def people(database: Database, settings: Settings) -> Callable[..., Any]:
    """Give a function that makes a user row and returns its principal."""

    async def make(role: Role, name: str = "") -> Principal:
        auth = Auth(database, settings)
        user = await auth.people.create(name or role.value, role)
        return await auth.principal_for_user(user.name)

    return make


@pytest.fixture
async def admin(people: Callable[..., Any]) -> Principal:
    """Make an administrator."""
    return await people(Role.ADMIN)


@pytest.fixture
async def developer(people: Any) -> Principal:
    """Make a developer."""
    return await people(Role.DEVELOPER)


@pytest.fixture
async def viewer(people: Any) -> Principal:
    """Make a viewer."""
    return await people(Role.VIEWER)


@pytest.fixture
async def client(people: Any) -> Principal:
    """Make a client."""
    return await people(Role.CLIENT)


@pytest.fixture
def caller() -> Callable[..., Caller]:
    """Give a function that makes a caller of a principal."""

    def make(principal: Principal, surface: Surface = Surface.REST, **more: Any) -> Caller:
        return Caller(principal=principal, surface=surface, **more)

    return make
