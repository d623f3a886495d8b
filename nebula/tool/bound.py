"""The executor with its caller filled in."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from nebula.auth.principal import Caller
from nebula.jobs.job import JobHandle
from nebula.policy.labels import Label
from nebula.tool.definition import Tool
from nebula.tool.result import Result

if TYPE_CHECKING:
    from nebula.tool.executor import Executor

P = ParamSpec("P")
R = TypeVar("R", bound=Result)


class Bound:
    """The executor as one tool or graph node sees it."""

    def __init__(self, executor: "Executor", caller: Caller, prefix: str) -> None:
        self._executor = executor
        self._caller = caller
        self._prefix = prefix
        self._count = 0

    async def call(self, tool: Tool[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a tool with typed arguments."""
        names = list(tool.input_model.model_fields)
        arguments = dict(zip(names, args, strict=False)) | kwargs
        return cast("R", await self.call_by_name(tool.name, arguments))

    async def call_by_name(self, name: str, arguments: Mapping[str, Any]) -> Result:
        """Run a tool of another feature, by its name."""
        return await self._executor.execute(
            name, arguments, caller=self._caller, call_id=self._next()
        )

    async def submit(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        priority: int = 0,
        labels: frozenset[Label] = frozenset(),
    ) -> JobHandle:
        """Let a worker run a tool as a job; `labels` say where its arguments came from besides."""
        caller = replace(self._caller, labels=self._caller.labels | labels)
        return await self._executor.submit(
            name, arguments, caller=caller, call_id=self._next(), priority=priority
        )

    def _next(self) -> str:
        self._count += 1
        return f"{self._prefix}/{self._count}"
