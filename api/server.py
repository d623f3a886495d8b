"""The machine doors as one application; the human doors are mounted on top of it."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from api import (
    approval_page,
    approvals,
    audit,
    chat,
    conversations,
    events,
    health,
    hooks,
    jobs,
    metrics,
    nodes,
    problems,
    signin,
    tools,
)
from api.doors import Doors
from api.mcp import PATH, create_mcp
from api.middleware import BodyLimit, LastResort, RequestFrame
from api.openapi import document
from api.pages import DOCS_START, docs_assets, docs_page
from nebula.settings import Settings
from nebula.tool.registry import Registry

if TYPE_CHECKING:
    import httpx

    from nebula.app import App


def create_server(
    settings: Settings,
    *,
    http_transport: "httpx.AsyncBaseTransport | None" = None,
    registry: Registry | None = None,
) -> FastAPI:
    """Build the application; its lifespan opens the App and Jarvis.

    `http_transport` replaces the network below the HTTP clients and `registry` the tools that
    are found in the packages, both for tests. `/` is left free: mount the chat there, last.
    """
    registry = registry or Registry.discover("tools", "graphs")
    api = _api(registry)
    mcp_door, mcp_app = create_mcp(_version())

    @asynccontextmanager
    async def lifespan(server: FastAPI) -> AsyncIterator[None]:
        from graphs.jarvis.service import open_jarvis
        from nebula.app import open_app
        from nebula.tool.audit.anchoring import anchoring

        async with AsyncExitStack() as stack:
            app = await stack.enter_async_context(
                open_app(settings, registry=registry, http_transport=http_transport)
            )
            # Ends last, when nothing more is written to the log.
            await stack.enter_async_context(anchoring(app.parts.db, app.parts.audit, settings))
            jarvis = await stack.enter_async_context(open_jarvis(app, unattended=True))
            await stack.enter_async_context(mcp_app.lifespan(mcp_app))
            server.state.doors = api.state.doors = Doors(app, jarvis)
            if settings.workers:
                await _work(stack, app)
            yield
            server.state.doors = api.state.doors = None

    server = _application(lifespan)
    server.state.settings = settings
    server.state.api = api
    server.include_router(health.router)
    server.include_router(metrics.router)
    for path in (PATH, f"{PATH}/"):
        server.router.routes.append(Route(path, mcp_door))
    server.router.routes.append(Route("/api", _to_docs))
    server.mount("/api", api)
    server.add_middleware(BodyLimit, most=settings.max_body_bytes)
    server.add_middleware(RequestFrame, public_url=settings.public_url)
    return server


async def _work(stack: AsyncExitStack, app: "App") -> None:
    """Run jobs, schedules and workflows in this process too."""
    from nebula.jobs.schedules.launch import ticking
    from nebula.jobs.worker import open_worker
    from tools.workflows.engine import working

    await stack.enter_async_context(open_worker(app, app.parts.settings.workers))
    await stack.enter_async_context(ticking(app.parts))
    await stack.enter_async_context(working(app))
    app.parts.leases.schedule()


def _api(registry: Registry) -> FastAPI:
    api = _application(None)
    for router in (
        signin.router,
        tools.router,
        # Its named pages before the ids.
        approval_page.router,
        approvals.router,
        audit.router,
        conversations.router,
        chat.router,
        events.router,
        hooks.router,
        jobs.router,
        nodes.router,
    ):
        api.include_router(router)
    described: list[bytes] = []

    async def openapi(_: object) -> Response:
        if not described:
            described.append(json.dumps(document(api, registry)).encode())
        return Response(described[0], media_type="application/json")

    async def docs(_: object) -> Response:
        return docs_page()

    async def start(_: object) -> Response:
        return Response(DOCS_START, media_type="text/javascript")

    api.router.routes += [
        Route("/openapi.json", openapi),
        Route("/docs", docs),
        Route("/docs/start.js", start),
    ]
    api.mount("/docs/assets", docs_assets())
    tools.add_conventional(api, registry)
    return api


def _application(
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None,
) -> FastAPI:
    app = FastAPI(
        version=_version(),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    problems.install(app)
    app.add_middleware(LastResort)
    return app


async def _to_docs(_: object) -> Response:
    return RedirectResponse("/api/docs")


def _version() -> str:
    try:
        return version("nebula-command")
    except PackageNotFoundError:
        return "0"
