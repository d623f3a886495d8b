"""The composition root: builds every part once and hands out one frozen App."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from pydantic_settings import BaseSettings

from nebula.settings import Settings

if TYPE_CHECKING:
    import httpx

    from nebula.auth.service import Auth
    from nebula.db.engine import Database
    from nebula.events.bus import Events
    from nebula.gpu.broker import Broker
    from nebula.gpu.leases.service import Leases
    from nebula.gpu.open import Gpu
    from nebula.http import SafeFetch
    from nebula.jobs.schedules.service import Schedules
    from nebula.jobs.service import Jobs
    from nebula.llm.command.mode import CommandMode
    from nebula.llm.embedding import Embedder
    from nebula.llm.router import MakeCommandModel, Router
    from nebula.services.directory import ServiceDirectory
    from nebula.services.nodes.registry import NodeRegistry
    from nebula.tool.approvals import Approvals
    from nebula.tool.audit import Audit
    from nebula.tool.executor import Executor
    from nebula.tool.limits import Limits
    from nebula.tool.registry import Registry

S = TypeVar("S", bound=BaseSettings)


@dataclass(frozen=True)
class Parts:
    """What the kernel hands to features."""

    settings: Settings
    db: "Database"
    http: "httpx.AsyncClient"
    fetch: "SafeFetch"
    events: "Events"
    services: "ServiceDirectory"
    broker: "Broker"
    leases: "Leases"
    nodes: "NodeRegistry"
    embedder: "Embedder"
    router: "Router"
    auth: "Auth"
    approvals: "Approvals"
    audit: "Audit"
    limits: "Limits"
    registry: "Registry"
    jobs: "Jobs"
    schedules: "Schedules"
    commands: "CommandMode"
    _feature_settings: dict[type[BaseSettings], BaseSettings] = field(default_factory=dict)

    def settings_of(self, cls: type[S]) -> S:
        """Return a feature's settings, read once per process."""
        made = self._feature_settings.setdefault(cls, cls())
        assert isinstance(made, cls)
        return made


@dataclass(frozen=True)
class App:
    """The running program: the parts, and the executor over them."""

    parts: Parts
    executor: "Executor"


@asynccontextmanager
async def open_app(
    settings: Settings | None = None,
    *,
    registry: "Registry | None" = None,
    http_transport: "httpx.AsyncBaseTransport | None" = None,
) -> AsyncIterator[App]:
    """Build every part, hand out the App, and close every part again in reverse order.

    `registry` replaces the tools that are found in the packages; `http_transport` replaces the
    network below the HTTP clients.
    """
    from nebula.tool.executor import Executor

    async with AsyncExitStack() as stack:
        parts = await _parts(stack, settings or Settings(), registry, http_transport)
        yield App(parts, Executor(parts))


async def _parts(
    stack: AsyncExitStack,
    settings: Settings,
    registry: "Registry | None",
    transport: "httpx.AsyncBaseTransport | None",
) -> Parts:
    from nebula.auth.service import Auth
    from nebula.db.open import open_database
    from nebula.events.bus import Events
    from nebula.gpu.open import open_gpu
    from nebula.llm.command.open import command_model, open_commands
    from nebula.llm.embedding import Embedder
    from nebula.services.nodes.open import open_nodes
    from nebula.tool.approvals import Approvals
    from nebula.tool.audit import Audit
    from nebula.tool.limits import open_limits
    from nebula.tool.registry import Registry

    db = await stack.enter_async_context(open_database(settings))
    events = await stack.enter_async_context(Events(db))
    http, fetch = await _web(stack, settings, transport)
    gpu = await stack.enter_async_context(open_gpu(settings, http, db, events))
    embedder, tools = Embedder(), registry or Registry.discover("tools", "graphs")
    commands = open_commands(tools, embedder, db, gpu.services)
    command = partial(command_model, commands, tools)
    return Parts(
        settings=settings,
        db=db,
        http=http,
        fetch=fetch,
        events=events,
        services=gpu.services,
        broker=gpu.broker,
        leases=gpu.leases,
        nodes=await stack.enter_async_context(open_nodes(settings, db, events, gpu, transport)),
        embedder=embedder,
        router=await _router(stack, settings, db, command, gpu=gpu, transport=transport),
        auth=Auth(db, settings),
        approvals=Approvals(db, events, settings),
        audit=Audit(db),
        limits=await stack.enter_async_context(open_limits(settings)),
        registry=tools,
        jobs=_jobs(db, events, tools, gpu),
        schedules=_schedules(db, tools),
        commands=commands,
    )


def _jobs(db: "Database", events: "Events", tools: "Registry", gpu: "Gpu") -> "Jobs":
    """Open the jobs; those that need a GPU wait for it at the leases' gate."""
    from nebula.gpu.open import admit_jobs
    from nebula.jobs.service import open_jobs

    jobs = open_jobs(db, events, tools)
    admit_jobs(gpu, jobs)
    return jobs


def _schedules(db: "Database", tools: "Registry") -> "Schedules":
    from nebula.jobs.schedules.service import Schedules

    return Schedules(db, tools)


async def _web(
    stack: AsyncExitStack, settings: Settings, transport: "httpx.AsyncBaseTransport | None"
) -> "tuple[httpx.AsyncClient, SafeFetch]":
    """Open the client for trusted addresses, and the guarded one for those a model chose."""
    from nebula.http import SafeFetch, make_http

    http = await stack.enter_async_context(make_http(transport))
    fetch = SafeFetch(allow_private=settings.allow_private_fetch, transport=transport)
    await stack.enter_async_context(fetch)
    return http, fetch


async def _router(
    stack: AsyncExitStack,
    settings: Settings,
    db: "Database",
    command: "MakeCommandModel",
    *,
    gpu: "Gpu",
    transport: "httpx.AsyncBaseTransport | None",
) -> "Router":
    """Open the router, which knows from the broker which models gave their card away."""
    from nebula.llm.open import open_router

    opening = open_router(
        settings,
        db,
        command=command,
        evicted=gpu.own.evicted,
        using=gpu.own.using,
        transport=transport,
    )
    router = await stack.enter_async_context(opening)
    gpu.broker.on_change.append(router.look_for_evictions)
    return router
