"""The background tools of the chaos run: GPU work on whichever machine has room."""

from typing import Annotated, Any, Literal

from pydantic import Field

from nebula.errors import Conflict, UpstreamRejected
from nebula.gpu.leases.need import GpuNeed
from nebula.gpu.policy.types import PriorityClass
from nebula.services.nodes.follow import follow, task_id
from nebula.services.sizes import GIB
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from nebula.tool.registry import Registry
from nebula.tool.result import Result
from node.protocol import TaskRequest

SAYS = ["work on a card", "work on a card now"]
COMMAND = "effect"
Klass = Annotated[
    Literal["chat", "image", "batch", "training"], Field(description="How urgent it is")
]
Seconds = Annotated[float, Field(gt=0, le=60, description="How long it takes")]
Vram = Annotated[float, Field(gt=0, le=64, description="What it needs, in GB")]
Stubborn = Annotated[float, Field(ge=0, le=10, description="How long it ignores a gentle end")]


class Worked(Result):
    node: str
    token: int


def _need(given: Any) -> GpuNeed:
    return GpuNeed(
        klass=PriorityClass[given.klass.upper()],
        vram=int(given.vram_gb * GIB),
        run_seconds=given.seconds,
        what=f"{given.klass} work",
    )


async def _work(ctx: Context, kind: str, key: str, seconds: float, stubborn: float) -> Worked:
    lease = ctx.lease
    if lease is None or ctx.run is None:
        raise Conflict("It runs as a job with a card only")
    client = await ctx.parts.nodes.client(lease.node)
    request = TaskRequest(
        # A keyed effect may be tried again, as another task under another lease.
        task_id=task_id(ctx.call_id, f"{ctx.run.job.attempts}"),
        command=COMMAND,
        args=(kind, key, f"{seconds:g}", f"{stubborn:g}"),
        gpu=lease.gpu,
        token=lease.token,
        vram=lease.vram,
        job=ctx.caller.job_id,
    )
    done = await follow(ctx, client, request)
    if done.report.exit_code != 0:
        raise UpstreamRejected(f"It ended with the code {done.report.exit_code}")
    return Worked(node=lease.node, token=lease.token)


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.KEYED,
    background=True,
    gpu=_need,
    timeout=600.0,
    examples=SAYS,
    selectors=["klass"],
)
async def chaos_keyed(
    ctx: Context, klass: Klass, vram_gb: Vram, seconds: Seconds, stubborn: Stubborn = 0.0
) -> Worked:
    """Take effect under a key that the outside system keeps."""
    return await _work(ctx, "keyed", ctx.call_id, seconds, stubborn)


@tool(
    effect=Effect.WRITE,
    background=True,
    gpu=_need,
    timeout=600.0,
    examples=SAYS,
    selectors=["klass"],
)
async def chaos_opaque(
    ctx: Context, klass: Klass, vram_gb: Vram, seconds: Seconds, stubborn: Stubborn = 0.0
) -> Worked:
    """Take effect on a system that keeps no keys."""
    return await _work(ctx, "opaque", ctx.call_id, seconds, stubborn)


def registry() -> Registry:
    """Return the product's tools and these."""
    return Registry([*Registry.discover("tools", "graphs"), chaos_keyed, chaos_opaque])
