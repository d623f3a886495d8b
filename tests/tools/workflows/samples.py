"""Tools to test workflows with; they keep what happened in a list."""

import asyncio
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from nebula.errors import UpstreamUnavailable
from nebula.policy.selectors import Kind
from nebula.tool.context import Context
from nebula.tool.definition import Audience, Effect, EffectKind, tool
from nebula.tool.result import Result

DONE: list[str] = []
FAILS: dict[str, int] = {}
"""How often a thing still fails."""
GATE = asyncio.Event()
MEET = asyncio.Barrier(4)
"""Four calls that meet run side by side, or none of them ends."""
SAYS = ["do it", "do it now"]
Name = Annotated[str, Field(description="Which thing", max_length=80)]


def keep(what: str) -> None:
    """Keep what happens, for the test that runs in another process too."""
    DONE.append(what)
    if log := os.environ.get("SAMPLE_LOG"):
        with Path(log).open("a") as file:
            file.write(f"{what}\n")


class Disk(BaseModel):
    name: str
    free: int
    state: Literal["good", "bad"] = "good"


class Disks(Result):
    free_bytes: int
    disks: list[Disk]


class Done(Result):
    name: str


@tool(effect=Effect.READ, examples=SAYS, public=True)
async def flow_look(ctx: Context, name: Name = "all") -> Disks:
    """Look at the disks."""
    DONE.append(f"look {name}")
    disks = [Disk(name="sda", free=3), Disk(name="sdb", free=8, state="bad")]
    return Disks(free_bytes=9_000_000_000, disks=disks)


@tool(effect=Effect.READ, examples=SAYS, outside=True, public=True)
async def flow_page(ctx: Context, name: Name = "page") -> Done:
    """Read what somebody else wrote."""
    DONE.append(f"page {name}")
    return Done(name="what-the-page-says")


@tool(
    effect=Effect.WRITE, examples=SAYS, selectors={"name": Kind.WORDS}, kind=EffectKind.IDEMPOTENT
)
async def flow_put(
    ctx: Context, name: Name, note: Annotated[str, Field(description="A note")] = ""
) -> Done:
    """Put a thing somewhere; it may fail first."""
    if FAILS.get(name, 0) > 0:
        FAILS[name] -= 1
        DONE.append(f"fail {name}")
        raise UpstreamUnavailable("The shelf does not answer.")
    if name.startswith("meet"):
        await asyncio.wait_for(MEET.wait(), 20)
    if name == "hang":
        keep("hang")
        await GATE.wait()
    keep(f"put {name}")
    return Done(name=name)


@tool(effect=Effect.WRITE, examples=SAYS, selectors=["name"], timeout=0.05)
async def flow_throw(ctx: Context, name: Name) -> Done:
    """Do what nobody can look up afterwards."""
    DONE.append(f"throw {name}")
    if name == "stall":
        await asyncio.Event().wait()
    if name == "away":
        raise UpstreamUnavailable("It does not answer.")
    return Done(name=name)


@tool(effect=Effect.WRITE, examples=SAYS, selectors=["name"])
async def flow_send(ctx: Context, name: Name) -> Done:
    """Send a thing off, which nobody can look up afterwards; it takes a while."""
    keep("send")
    await GATE.wait()
    return Done(name=name)


@tool(effect=Effect.DESTRUCTIVE, examples=SAYS, selectors={"name": Kind.WORDS})
async def flow_destroy(ctx: Context, name: Name) -> Done:
    """Destroy a thing."""
    DONE.append(f"destroy {name}")
    return Done(name=name)


@tool(
    effect=Effect.WRITE,
    examples=SAYS,
    selectors=["name"],
    background=True,
    timeout=60,
    kind=EffectKind.IDEMPOTENT,
)
async def flow_job(ctx: Context, name: Name) -> Done:
    """Work for a while as a job."""
    DONE.append(f"job {name}")
    return Done(name=name)


@tool(effect=Effect.WRITE, examples=SAYS, selectors=["name"], audience=Audience.HUMAN)
async def flow_person(ctx: Context, name: Name) -> Done:
    """Do what only a person may do."""
    return Done(name=name)


ALL = [
    flow_look,
    flow_page,
    flow_put,
    flow_throw,
    flow_send,
    flow_destroy,
    flow_job,
    flow_person,
]
