"""A program with sample tools, an engine, and short ways to make and follow runs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text

from nebula.app import App, open_app
from nebula.auth.principal import Caller, Principal, Surface
from nebula.settings import Settings
from nebula.tool.registry import Registry
from tests.fakes.wire import Wire
from tests.tools.workflows import samples
from tools.workflows.engine import Engine

FOUND = [tool for tool in Registry.discover("tools", "graphs") if tool.feature == "workflows"]


class Flow:
    """One person's way to workflows."""

    def __init__(self, app: App, who: Principal, engine: Engine) -> None:
        self.app, self.who, self.engine = app, who, engine
        self._calls = 0

    async def use(self, tool: str, /, **arguments: Any) -> Any:
        self._calls += 1
        caller = Caller(self.who, Surface.REST)
        call_id = f"{self.who.name}-{self._calls}"
        return await self.app.executor.execute(tool, arguments, caller=caller, call_id=call_id)

    async def save(self, steps: list[dict[str, Any]], **more: Any) -> Any:
        spec = {"name": "sample", "steps": steps, **more}
        return (await self.use("workflows_create", spec=spec)).workflow

    async def run(self, steps: list[dict[str, Any]], inputs: Any = None, **more: Any) -> Any:
        """Save a workflow, run it, and work until it ends or waits."""
        await self.save(steps, **more)
        return await self.start(inputs)

    async def start(self, inputs: Any = None, **more: Any) -> Any:
        begun = await self.use("workflows_run", workflow="sample", inputs=inputs or {}, **more)
        return await self.work(begun.run.id)

    async def work(self, run_id: str, engine: Engine | None = None) -> Any:
        """Beat until the run has ended, or waits for something that is not there."""
        engine = engine or self.engine
        for _ in range(100):
            await engine.beat()
            await engine.idle()
            run = await self.look(run_id)
            if run.state in {"done", "failed", "cancelled", "skipped"}:
                return run
            if run.state == "waiting" and not await self._pausing(run_id):
                return run
            await asyncio.sleep(0.01)
        raise AssertionError(f"the run goes on: {run}")

    async def look(self, run_id: str) -> Any:
        runs = (await self.use("workflows_list_runs", limit=200)).runs
        return next(run for run in runs if run.id == run_id)

    async def steps(self, run_id: str) -> dict[str, Any]:
        """Return the latest try of each path."""
        shown = await self.use("workflows_get", workflow="sample", run=run_id)
        return {step.path: step for step in shown.steps}

    async def question(self) -> Any:
        [pending] = await self.app.parts.approvals.list(self.who)
        return pending

    async def answer(self, decision: Any, comment: str = "") -> Any:
        pending = await self.question()
        await self.app.parts.approvals.decide(
            pending.id, decision=decision, by=self.who, surface=Surface.CHAT, comment=comment
        )
        return pending

    async def _pausing(self, run_id: str) -> bool:
        query = text("SELECT wake_at IS NOT NULL FROM workflow_runs WHERE id = :run")
        async with self.app.parts.db.session() as session:
            return bool(await session.scalar(query, {"run": run_id}))


@pytest.fixture
async def app(settings: Settings, wire: Wire) -> AsyncIterator[App]:
    """Open the program with the sample tools and those of workflows."""
    samples.DONE.clear()
    samples.FAILS.clear()
    samples.GATE, samples.MEET = asyncio.Event(), asyncio.Barrier(4)
    registry = Registry([*samples.ALL, *FOUND])
    async with open_app(settings, registry=registry, http_transport=wire) as opened:
        yield opened


@pytest.fixture
async def engine(app: App) -> AsyncIterator[Engine]:
    """Give an engine that works when it is told to."""
    engine = Engine(app)
    yield engine
    await engine.stop(0)


@pytest.fixture
async def flow(app: App, admin: Principal, engine: Engine) -> Flow:
    """Give the administrator's way to workflows."""
    return Flow(app, admin, engine)
