"""Tools with every kind of conventional route."""

import asyncio
from typing import Annotated

from pydantic import Field

from nebula.errors import InvalidInput
from nebula.tool.context import Context
from nebula.tool.definition import AnyTool, Effect, EffectKind, tool
from nebula.tool.result import Result
from tests.nebula.tool import samples

DONE = samples.DONE
SAYS = ["do it", "do it now"]


class Seen(Result):
    name: str
    number: int
    tags: list[str]
    exact: bool


@tool(effect=Effect.READ, rest="GET /sample/things/{name}", examples=SAYS)
async def sample_find(
    ctx: Context,
    name: Annotated[str, Field(description="Which thing", min_length=1)],
    number: Annotated[int, Field(description="A number", ge=0, le=9)] = 0,
    tags: Annotated[list[str] | None, Field(description="Some words")] = None,
    exact: Annotated[bool, Field(description="Whether to look closely")] = False,
) -> Seen:
    """Find a thing and tell what was asked."""
    return Seen(name=name, number=number, tags=tags or [], exact=exact)


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.CHECK_THEN_ACT,
    rest="PATCH /sample/things/{name}",
    selectors=["name"],
    examples=SAYS,
)
async def sample_change(
    ctx: Context,
    name: Annotated[str, Field(description="Which thing")],
    number: Annotated[int, Field(description="A number", ge=0, le=9)],
) -> Seen:
    """Change a thing."""
    DONE.append(f"change {name} {number}")
    return Seen(name=name, number=number, tags=[], exact=True)


@tool(
    effect=Effect.READ,
    background=True,
    rest="POST /sample/bakes",
    examples=SAYS,
    timeout=60,
)
async def sample_bake(
    ctx: Context,
    name: Annotated[str, Field(description="Which thing; 'hang' never ends, 'burn' fails")],
) -> Seen:
    """Bake a thing in four steps."""
    for step in range(1, 5):
        await ctx.progress(None, f"layer {step}", step=step, steps=4)
        await ctx.job_log(f"layer {step} of {name}")
    if name == "burn":
        raise InvalidInput("It burnt.")
    if name == "hang":
        await asyncio.Event().wait()
    return Seen(name=name, number=4, tags=[], exact=True)


ALL: list[AnyTool] = [*samples.ALL, sample_find, sample_change, sample_bake]
