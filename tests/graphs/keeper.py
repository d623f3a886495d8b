"""An agent that looks after the lamps, and what tests do with it."""

from collections.abc import Sequence
from decimal import Decimal
from itertools import count
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from sqlalchemy import text

from nebula.auth.principal import Caller, Surface
from nebula.errors import UpstreamUnavailable
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from nebula.tool.registry import Registry
from tests.graphs.lab import DONE, Lab, Lamp, Name, call, calls
from tools.agents.schemas import Run

EVERY = Registry.discover("tools")


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    selectors=["name"],
    examples=["buy a lamp", "get another lamp"],
    cost=lambda _values: Decimal(2),
)
async def lamps_buy(ctx: Context, name: Name) -> Lamp:
    """Buy a lamp for two coins."""
    DONE.append(f"buy {name}")
    return Lamp(name=name)


TOOLS = [each for each in EVERY if each.feature in {"agents", "notify"}]
_NUMBERS = count()


async def use(world: Lab, who: Caller, name: str, /, **arguments: Any) -> Any:
    return await world.app.executor.execute(
        name, arguments, caller=who, call_id=f"test-{next(_NUMBERS)}"
    )


async def make(world: Lab, who: Caller, **changes: Any) -> None:
    known = {"name": "keeper", "purpose": "Look after the lamps of this house.", "tools": []}
    await use(world, who, "agents_create", **{**known, "features": ["lamps"], **changes})


async def newest(world: Lab, who: Caller) -> Run:
    listed = await use(world, who, "agents_list_runs", limit=1)
    run: Run = listed.runs[0]
    return run


async def worked(world: Lab, who: Caller) -> Run:
    """Let what is due begin, and follow the newest run to its end or its pause."""
    await world.jarvis.unattended.beat()
    run = await newest(world, who)
    if run.session_id is not None:
        _ = [event async for event in world.jarvis.follow(who, run.session_id)]
    return await newest(world, who)


async def ran(world: Lab, who: Caller, **more: Any) -> Run:
    await use(world, who, "agents_run", agent="keeper", **more)
    return await worked(world, who)


async def sql(world: Lab, statement: str) -> None:
    async with world.app.parts.db.session() as db:
        await db.execute(text(statement))


def failing(messages: Sequence[BaseMessage], offered: Sequence[str]) -> AIMessage:
    raise UpstreamUnavailable("The model is away.")


def stubborn(messages: Sequence[BaseMessage], offered: Sequence[str]) -> AIMessage:
    return calls(call("lamps_show"))


async def by_itself(world: Lab, who: Caller) -> Run:
    """Let the schedule's call come, as a worker makes it."""
    tick = Caller(who.principal, Surface.SCHEDULE)
    await use(world, tick, "agents_run", agent="keeper")
    return await worked(world, who)
