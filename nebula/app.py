"""The composition root: builds every part once and hands out one frozen App."""

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
    from nebula.http import SafeFetch
    from nebula.llm.embedding import Embedder
    from nebula.llm.router import Router
    from nebula.services.directory import ServiceDirectory
    from nebula.tool.approvals import Approvals
    from nebula.tool.audit import Audit
    from nebula.tool.executor import Executor
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
    embedder: "Embedder"
    router: "Router"
    auth: "Auth"
    approvals: "Approvals"
    audit: "Audit"
    registry: "Registry"
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
