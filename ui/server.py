"""The whole server: the machine doors of `api`, and the web chat mounted last."""

from pathlib import Path
from typing import TYPE_CHECKING

from nebula.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI


def create(settings: Settings) -> "FastAPI":
    """Build the server that `jarvis up` runs. One per process: Chainlit keeps global state."""
    from api.server import create_server

    server = create_server(settings)
    mount_chat(server, settings)
    return server


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
    from ui.chat import door, jobs, panel, shell
    from ui.chat.gate import Gate

    door.open_to(server)
    server.include_router(sign_in.router)
    server.include_router(panel.router)
    server.include_router(jobs.router)
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
