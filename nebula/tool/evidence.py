"""What a person is shown beside a question: what would happen, and what it would happen to."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from pydantic import BaseModel, Field

from nebula.auth.principal import Caller
from nebula.errors import NebulaError, PermissionDenied, TimedOut
from nebula.policy.ask import Decision
from nebula.policy.labels import Label
from nebula.tool.context import Context
from nebula.tool.definition import AnyTool, Tool
from nebula.tool.result import Block, Result

if TYPE_CHECKING:
    from nebula.app import Parts
    from nebula.jobs.job import JobHandle

P = ParamSpec("P")
R = TypeVar("R", bound=Result)


_SECONDS = 5.0


class Evidence(BaseModel, frozen=True):
    """What a question shows beside its arguments."""

    title: str = ""
    preview: list[Block] = Field(default_factory=list)
    no_preview: str = ""
    """Why there is none, where the tool has one."""
    origins: dict[str, str] = Field(default_factory=dict)
    """Where the value of each selector comes from."""


async def evidence(
    parts: "Parts", tool: AnyTool, values: BaseModel, caller: Caller, decision: Decision
) -> Evidence:
    """Gather what a question shows; a preview that fails says so and stops nothing."""
    shown: list[Block] = []
    problem = ""
    if tool.preview is not None:
        try:
            async with asyncio.timeout(_SECONDS):
                shown = list(await tool.preview(_looking(parts, caller), values))
        except NebulaError as error:
            problem = str(error)
        except TimeoutError:
            problem = f"it took over {_SECONDS:g} s."
    return Evidence(
        title=tool.summary,
        preview=shown,
        no_preview=problem,
        origins={name: origin.value for name, origin in decision.origins.items()},
    )


async def versions(
    parts: "Parts", tool: AnyTool, values: BaseModel, caller: Caller
) -> Mapping[str, str]:
    """Return the present version of everything that a call would change.

    Raises:
        NebulaError: when that cannot be told, so that nobody approves what is not known.
    """
    if tool.versions is None:
        return {}
    try:
        async with asyncio.timeout(_SECONDS):
            return dict(await tool.versions(_looking(parts, caller), values))
    except TimeoutError as error:
        raise TimedOut(f"What {tool.name} would change cannot be seen just now.") from error


def _looking(parts: "Parts", caller: Caller) -> Context:
    return Context(caller, "preview", parts, _NoCalls())


class _NoCalls:
    """Looking ahead runs no tool: that would be a call nobody decided about."""

    async def call(self, tool: Tool[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        del args, kwargs
        raise _only_looks(tool.name)

    async def call_by_name(self, name: str, arguments: Mapping[str, Any]) -> Result:
        del arguments
        raise _only_looks(name)

    async def submit(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        priority: int = 0,
        labels: frozenset[Label] = frozenset(),
    ) -> "JobHandle":
        del arguments, priority, labels
        raise _only_looks(name)


def _only_looks(name: str) -> PermissionDenied:
    return PermissionDenied(f"A preview runs no tool, and so not {name}.")
