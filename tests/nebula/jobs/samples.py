"""Background tools to test jobs with; what they do is kept in a list, or in a file for others."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Annotated

from pydantic import Field

from nebula.errors import InvalidInput, UpstreamUnavailable
from nebula.tool.context import Context
from nebula.tool.definition import AnyTool, Effect, EffectKind, tool
from nebula.tool.result import Result

DONE: list[str] = []
KEYS: set[str] = set()
LET_GO = asyncio.Event()
SAYS = ["work on it", "work on it now"]
Name = Annotated[str, Field(description="Which thing", max_length=200)]


class Made(Result):
    name: str
    artefacts: tuple[str, ...] = ()


def note(ctx: Context, word: str) -> None:
    """Keep what happened, also for other processes when a file is named."""
    DONE.append(word)
    KEYS.add(ctx.call_id)
    if path := os.environ.get("SAMPLE_LOG"):
        with Path(path).open("a") as file:
            file.write(f"{ctx.call_id} {word}\n")


async def _work(ctx: Context, name: str) -> Made:  # noqa: C901 - a case per way to work
    """Do what the name says: end, hang, fail once, fail always, report."""
    note(ctx, f"begin {name}")
    verb, _, rest = name.partition(" ")
    run = ctx.run
    if verb == "once" and run is not None and run.job.attempts == 1:
        verb = rest
    match verb:
        case "hang":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                note(ctx, f"stopped {name}")
                raise
        case "stubborn":
            while not LET_GO.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await LET_GO.wait()
        case "flaky" if run is None or run.job.attempts < 2:
            raise UpstreamUnavailable("The other side does not answer.")
        case "down":
            raise UpstreamUnavailable("The other side does not answer.")
        case "wrong":
            raise InvalidInput("That is not a thing.")
        case "bug":
            raise ZeroDivisionError("secret detail")
        case "report":
            await ctx.progress(0.25, "a quarter", step=1, steps=4)
            await ctx.job_log("first\nsecond")
        case "nap":
            await asyncio.sleep(0.2)
    note(ctx, f"end {name}")
    return Made(name=name, artefacts=(f"artefact of {name}",))


@tool(
    effect=Effect.WRITE,
    background=True,
    examples=SAYS,
    selectors=["name"],
    kind=EffectKind.IDEMPOTENT,
    timeout=60,
)
async def sample_idempotent(ctx: Context, name: Name) -> Made:
    """Work on a thing that may be worked on twice."""
    return await _work(ctx, name)


@tool(
    effect=Effect.WRITE,
    background=True,
    examples=SAYS,
    selectors=["name"],
    kind=EffectKind.KEYED,
    timeout=60,
)
async def sample_keyed(ctx: Context, name: Name) -> Made:
    """Work on a thing under a key."""
    return await _work(ctx, name)


@tool(effect=Effect.WRITE, background=True, examples=SAYS, selectors=["name"], timeout=60)
async def sample_opaque(ctx: Context, name: Name) -> Made:
    """Work on a thing that nobody can look up."""
    return await _work(ctx, name)


@tool(effect=Effect.READ, background=True, examples=SAYS, timeout=0.2)
async def sample_brief(ctx: Context, name: Name) -> Made:
    """Look at a thing for a moment."""
    return await _work(ctx, name)


@tool(effect=Effect.DESTRUCTIVE, background=True, examples=SAYS, selectors=["name"], timeout=60)
async def sample_destroy(ctx: Context, name: Name) -> Made:
    """Destroy a thing slowly."""
    return await _work(ctx, name)


@tool(
    effect=Effect.WRITE,
    background=True,
    examples=SAYS,
    selectors=["name"],
    kind=EffectKind.IDEMPOTENT,
    timeout=60,
)
async def sample_outer(ctx: Context, name: Name) -> Made:
    """Work on a thing through another background tool."""
    inner = await ctx.calls.call(sample_keyed, name=name)
    note(ctx, f"outer saw {type(inner).__name__}")
    return inner


@tool(effect=Effect.WRITE, examples=SAYS, selectors=["name"], kind=EffectKind.IDEMPOTENT)
async def sample_plain(ctx: Context, name: Name) -> Made:
    """Work on a thing at once."""
    return await _work(ctx, name)


@tool(effect=Effect.WRITE, examples=SAYS, selectors=["name"])
async def sample_once(ctx: Context, name: Name) -> Made:
    """Do what nobody can look up, at once."""
    return await _work(ctx, name)


@tool(effect=Effect.DESTRUCTIVE, examples=SAYS, selectors=["name"])
async def sample_wipe(ctx: Context, name: Name) -> Made:
    """Wipe a thing at once."""
    return await _work(ctx, name)


@tool(effect=Effect.WRITE, background=True, examples=SAYS, selectors=["name"], timeout=60)
async def sample_careful(ctx: Context, name: Name) -> Made:
    """Work in three steps, of which a person must allow the last."""
    await ctx.calls.call(sample_plain, name=f"first of {name}")
    await ctx.calls.call(sample_once, name=f"second of {name}")
    return await ctx.calls.call(sample_wipe, name=f"third of {name}")


ALL: list[AnyTool] = [
    sample_once,
    sample_wipe,
    sample_careful,
    sample_idempotent,
    sample_keyed,
    sample_opaque,
    sample_brief,
    sample_destroy,
    sample_outer,
    sample_plain,
]
