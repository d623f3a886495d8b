"""Tools to test the kernel with; they keep what happened in a list."""

import asyncio
from typing import Annotated

from pydantic import Field, SecretStr

from nebula.errors import UpstreamUnavailable
from nebula.tool.context import Context
from nebula.tool.definition import AnyTool, Audience, Effect, EffectKind, tool
from nebula.tool.result import Result

DONE: list[str] = []
Name = Annotated[str, Field(description="Which thing", max_length=80)]
SAYS = ["do it", "do it now"]


class Done(Result):
    name: str


@tool(effect=Effect.READ, examples=SAYS)
async def sample_look(ctx: Context, name: Name = "all") -> Done:
    """Look at a thing."""
    DONE.append(f"look {name}")
    return Done(name=name)


@tool(effect=Effect.WRITE, examples=SAYS, selectors=["name"], kind=EffectKind.IDEMPOTENT)
async def sample_write(ctx: Context, name: Name) -> Done:
    """Write a thing."""
    DONE.append(f"write {name}")
    return Done(name=name)


@tool(effect=Effect.DESTRUCTIVE, examples=SAYS, selectors=["name"])
async def sample_destroy(
    ctx: Context,
    name: Name,
    count: Annotated[float, Field(description="How many")] = 1,
    password: Annotated[SecretStr | None, Field(description="A secret")] = None,
) -> Done:
    """Destroy a thing."""
    DONE.append(f"destroy {name}")
    return Done(name=name)


@tool(effect=Effect.WRITE, examples=SAYS, selectors=["name"])
async def sample_break(ctx: Context, name: Name) -> Done:
    """Break in one of several ways."""
    DONE.append(f"break {name}")
    if name == "upstream":
        raise UpstreamUnavailable("The thing does not answer.")
    if name == "bug":
        raise ZeroDivisionError("secret detail")
    if name == "hang":
        await asyncio.Event().wait()
    return Done(name=name)


@tool(effect=Effect.WRITE, examples=SAYS, selectors=["name"], timeout=0.05)
async def sample_stall(ctx: Context, name: Name) -> Done:
    """Take longer than allowed, with an effect nobody can check."""
    await asyncio.Event().wait()
    return Done(name=name)


@tool(effect=Effect.WRITE, examples=SAYS, selectors=["name"], audience=Audience.HUMAN)
async def sample_person(ctx: Context, name: Name) -> Done:
    """Do what only a person may do."""
    return Done(name=name)


@tool(effect=Effect.WRITE, examples=SAYS, selectors=["name"])
async def sample_nested(ctx: Context, name: Name) -> Done:
    """Call a destructive tool from inside."""
    await ctx.calls.call(sample_destroy, name=name)
    return Done(name=name)


ALL: list[AnyTool] = [
    sample_look,
    sample_write,
    sample_destroy,
    sample_break,
    sample_stall,
    sample_person,
    sample_nested,
]
