"""Who sits at the terminal: the operator of this machine, by the data folder and no password."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from nebula.errors import InvalidInput, NotAuthenticated
from nebula.settings import Settings
from ui.cli.beacon import running

if TYPE_CHECKING:
    from nebula.app import App
    from nebula.auth.principal import Caller, Principal
    from nebula.auth.service import Auth
    from nebula.db.engine import Database

T = TypeVar("T")


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Run a command's async part with quiet logs; SIGTERM ends it as Ctrl-C does."""
    from nebula.log import configure_logging

    configure_logging("console", "ERROR")

    async def main() -> T:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work()

    try:
        return asyncio.run(main())
    except asyncio.CancelledError as error:
        raise KeyboardInterrupt from error


def read_settings() -> Settings:
    """Read the settings.

    Raises:
        InvalidInput: when one of them is not valid, naming it.
    """
    from pydantic import ValidationError

    try:
        return Settings()
    except ValidationError as error:
        wrong = [f"{item['loc'][0]}: {item['msg']}" for item in error.errors()]
        raise InvalidInput(
            f"A setting is not valid: {'; '.join(wrong)}", hint="Correct the environment or .env."
        ) from error


@dataclass(frozen=True)
class Seat:
    """The open App with the operator at the terminal."""

    app: "App"
    caller: "Caller"


@asynccontextmanager
async def seated() -> AsyncIterator[Seat]:
    """Open the App and act as the operator."""
    from nebula.app import open_app
    from nebula.auth.principal import Caller, Surface

    async with open_app(read_settings()) as app:
        yield Seat(app, Caller(await operator(app.parts.auth), Surface.TERMINAL))


@asynccontextmanager
async def people() -> "AsyncIterator[tuple[Auth, Database]]":
    """Open only the database and sign-in, which takes a fraction of opening the App."""
    from nebula.auth.service import Auth
    from nebula.db.open import open_database
    from nebula.secrets.store import open_secrets

    settings = await asyncio.to_thread(_as_served, read_settings())
    async with (
        open_database(settings, application="nebula-terminal") as database,
        open_secrets(database, settings),
    ):
        yield Auth(database, settings), database


def _as_served(settings: Settings) -> Settings:
    """Let links lead to the server that runs, which may listen elsewhere than the settings say."""
    server = None if settings.public_url else running(settings.home)
    return settings.model_copy(update={"public_url": server.url}) if server else settings


async def operator(auth: "Auth") -> "Principal":
    """Return the first administrator, made now on a fresh data folder."""
    try:
        return await auth.first_administrator()
    except NotAuthenticated:
        await auth.ensure_admin()
        return await auth.first_administrator()
