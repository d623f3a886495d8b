"""What a running tool may reach."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from nebula.auth.principal import Caller, Principal
from nebula.policy.labels import Label
from nebula.secrets.redact import hide
from nebula.tool.definition import Tool
from nebula.tool.result import Result

if TYPE_CHECKING:
    import httpx
    from pydantic_settings import BaseSettings
    from sqlalchemy.ext.asyncio import AsyncSession

    from nebula.app import Parts
    from nebula.gpu.leases.lease import Lease
    from nebula.jobs.job import JobHandle
    from nebula.jobs.run import JobRun

P = ParamSpec("P")
R = TypeVar("R", bound=Result)
S = TypeVar("S", bound="BaseSettings")


class Calls(Protocol):
    """The executor, as tools and graphs see it: the caller is already bound."""

    async def call(self, tool: Tool[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a tool with typed arguments."""
        ...

    async def call_by_name(self, name: str, arguments: Mapping[str, Any]) -> Result:
        """Run a tool of another feature, by its name."""
        ...

    async def submit(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        priority: int = 0,
        labels: frozenset[Label] = frozenset(),
    ) -> "JobHandle":
        """Let a worker run a tool as a job; `labels` say where its arguments came from besides."""
        ...


@dataclass(frozen=True)
class Context:
    """One call's surroundings; `parts` holds what the kernel hands to features."""

    caller: Caller
    call_id: str
    parts: "Parts"
    calls: Calls
    run: "JobRun | None" = None
    """The run of the job this call is part of, if it is one."""

    @property
    def principal(self) -> Principal:
        """Return who asks."""
        return self.caller.principal

    @property
    def http(self) -> "httpx.AsyncClient":
        """Return the client for addresses from settings and the service map (not from models)."""
        return self.parts.http

    def db(self) -> "AbstractAsyncContextManager[AsyncSession]":
        """Open a session that commits on success; never hold it across a network call."""
        return self.parts.db.session()

    def settings(self, cls: "type[S]") -> S:
        """Return a feature's settings, read once per process."""
        return self.parts.settings_of(cls)

    @property
    def lease(self) -> "Lease | None":
        """Return the part of a GPU that the job holds while it runs."""
        return None if self.run is None else self.run.lease

    async def progress(
        self,
        fraction: float | None,
        message: str,
        *,
        step: int | None = None,
        steps: int | None = None,
    ) -> None:
        """Tell whoever waits how far this is; `fraction` is 0..1, or None when unknown."""
        message = hide(message)
        if self.run is not None:
            self.run.progress(fraction, message, step=step, steps=steps)
        elif self.caller.progress is not None:
            await self.caller.progress(fraction, message)

    async def job_log(self, text: str) -> None:
        """Add lines to the log of the job this call is part of; elsewhere nobody keeps them."""
        if self.run is not None:
            self.run.log(hide(text))
