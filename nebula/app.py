"""The composition root: builds every part once and hands out one frozen App."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
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
    from nebula.http import SafeFetch
    from nebula.jobs.schedules.service import Schedules
    from nebula.jobs.service import Jobs
    from nebula.llm.command.mode import CommandMode
    from nebula.llm.embedding import Embedder
    from nebula.llm.router import Router
    from nebula.secrets.store import Secrets
    from nebula.services.directory import ServiceDirectory
    from nebula.services.nodes.registry import NodeRegistry
    from nebula.tool.approvals import Approvals
    from nebula.tool.audit.log import Audit
    from nebula.tool.executor import Executor
    from nebula.tool.judge import Judge
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
    judge: "Judge"
    registry: "Registry"
    jobs: "Jobs"
    schedules: "Schedules"
    commands: "CommandMode"
    secrets: "Secrets"
    _feature_settings: dict[type[BaseSettings], BaseSettings] = field(default_factory=dict)

    def settings_of(self, cls: type[S]) -> S:
        """Return a feature's settings, read once per process."""
        made = self._feature_settings.get(cls)
        if made is None:
            made = self._feature_settings.setdefault(cls, cls())
            self.secrets.watch.know(made)
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
    # What a process opens weighs seconds of imports; one that only asks for help does not wait.
    from nebula.assembly import assembled
    from nebula.tool.executor import Executor
    from nebula.tool.pause import following

    async with AsyncExitStack() as stack:
        parts = await assembled(stack, settings or Settings(), registry, http_transport)
        executor = Executor(parts)
        await stack.enter_async_context(following(parts.judge.pause, executor.stop_effects))
        yield App(parts, executor)
