"""The whole server: the machine doors of `api`, and the web chat mounted last."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nebula.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from api.doors import Doors


def create(settings: Settings) -> "FastAPI":
    """Build the server that `jarvis up` runs. One per process: Chainlit keeps global state."""
    from api.server import create_server

    server = create_server(settings)
    mount_chat(server, settings)
    open_discord(server)
    return server


def open_discord(server: "FastAPI") -> None:
    """Let the server's lifespan run the Discord bot too, when there is a token for it."""
    from tools.discord.settings import DiscordSettings

    opening = server.router.lifespan_context

    @asynccontextmanager
    async def lifespan(application: "FastAPI") -> AsyncIterator[Any]:
        async with opening(application) as state:
            doors: Doors = application.state.doors
            token = doors.app.parts.settings_of(DiscordSettings).token
            if not token.get_secret_value():
                yield state
                return
            # The library is only imported where there is a bot.
            from ui.discord.run import beside

            async with beside(doors.app, doors.jarvis):
                yield state

    server.router.lifespan_context = lifespan


def mount_chat(server: "FastAPI", settings: Settings) -> None:
    """Mount the sign-in page and the chat over a server whose state holds `app` and `jarvis`."""
    from ui.chat import home
    from ui.chat.imports import without_tracing

    home.prepare(settings)
    # Chainlit reads its folder when it is imported, so nothing of it is imported before this.
    with without_tracing():
        from chainlit.utils import mount_chainlit
    from starlette.routing import Mount

    from ui import sign_in
    from ui.chat import agents, door, jobs, panel, shell, workflows
    from ui.chat.gate import Gate

    door.open_to(server)
    server.include_router(sign_in.router)
    server.include_router(panel.router)
    server.include_router(jobs.router)
    server.include_router(agents.router)
    server.include_router(workflows.router)
    page_policy = shell.install()
    mount_chainlit(server, str(Path(__file__).with_name("web.py")), path="/")
    mount = server.router.routes[-1]
    assert isinstance(mount, Mount)
    mount.app = Gate(
        mount.app,
        who_is=door.who_is,
        mint=door.mint,
        policy=page_policy(),
        public_url=settings.public_url,
    )
