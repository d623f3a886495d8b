"""The tools that P4 and R3 run as jobs: a nap, and an effect on a system outside."""

import asyncio
import os
import signal
import sqlite3
import time
from pathlib import Path
from typing import Annotated

from pydantic import Field

from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from nebula.tool.registry import Registry
from nebula.tool.result import Result

BEGAN: dict[str, float] = {}
"""When each call's tool was entered, in this process."""
Name = Annotated[str, Field(description="Which one")]
SAYS = ["do it", "do it now"]


class Done(Result):
    name: str


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    background=True,
    examples=SAYS,
    selectors=["name"],
)
async def bench_nap(
    ctx: Context,
    name: Name,
    seconds: Annotated[float, Field(description="How long")] = 0.0,
) -> Done:
    """Sleep for a moment."""
    BEGAN[ctx.call_id] = time.perf_counter()
    await asyncio.sleep(seconds)
    return Done(name=name)


def act(outside: Path, key: str | None, fault: str) -> None:
    """Take effect on the outside system, and die before or after as the fault says."""
    if fault == "before the effect":
        os.kill(os.getpid(), signal.SIGKILL)
    with sqlite3.connect(outside) as file:
        file.execute("INSERT OR IGNORE INTO effects (key) VALUES (?)", [key])
    if fault == "after the effect":
        os.kill(os.getpid(), signal.SIGKILL)


def _fault(ctx: Context) -> str:
    """Return the fault of this run: only first attempts die."""
    first = ctx.run is not None and ctx.run.job.attempts == 1
    return os.environ.get("BENCH_FAULT", "") if first else ""


@tool(
    effect=Effect.WRITE, kind=EffectKind.KEYED, background=True, examples=SAYS, selectors=["name"]
)
async def bench_keyed(ctx: Context, name: Name) -> Done:
    """Take effect under a key that the outside system keeps."""
    act(Path(os.environ["BENCH_OUTSIDE"]), ctx.call_id, _fault(ctx))
    return Done(name=name)


@tool(effect=Effect.WRITE, background=True, examples=SAYS, selectors=["name"])
async def bench_opaque(ctx: Context, name: Name) -> Done:
    """Take effect on a system that keeps no keys."""
    act(Path(os.environ["BENCH_OUTSIDE"]), None, _fault(ctx))
    return Done(name=name)


def registry() -> Registry:
    """Return these tools."""
    return Registry([bench_nap, bench_keyed, bench_opaque])
