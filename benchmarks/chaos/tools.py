"""The background tools of the chaos run: GPU work on whichever machine has room."""

import asyncio
import json
from typing import Annotated, Any, Literal

import httpx
from pydantic import Field

from nebula.errors import Conflict, UpstreamRejected, UpstreamUnavailable, Yielded
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


Service = Annotated[str, Field(description="Which server of models")]
Model = Annotated[str, Field(description="Which model of it")]


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
        task_id=task_id(ctx.call_id, f"{ctx.run.job.attempts} {lease.token}"),
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


def _trains(given: Any) -> GpuNeed:
    size, takes = int(given.vram_gb * GIB), given.seconds
    klass, said = PriorityClass.TRAINING, "chaos training"
    return GpuNeed(klass=klass, vram=size, run_seconds=takes, what=said, yields=True)


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.KEYED,
    background=True,
    gpu=_trains,
    timeout=600.0,
    examples=SAYS,
    selectors=["vram_gb"],
)
async def chaos_train(ctx: Context, vram_gb: Vram, seconds: Seconds) -> Worked:
    """Work as a training does, which saves its work and leaves when somebody asks for the card."""
    assert ctx.lease is not None
    work = asyncio.create_task(_work(ctx, "keyed", ctx.call_id, seconds, 0.0))
    asked = asyncio.create_task(ctx.lease.should_yield.wait())
    try:
        await asyncio.wait({work, asked}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
    finally:
        for task in (work, asked):
            task.cancel()
        await asyncio.gather(work, asked, return_exceptions=True)
    raise Yielded("It saved its work for somebody else")


def _model(given: Any) -> GpuNeed:
    klass = PriorityClass[given.klass.upper()]
    return GpuNeed(service=given.service, model=given.model, klass=klass, run_seconds=given.seconds)


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    background=True,
    gpu=_model,
    timeout=600.0,
    examples=SAYS,
    selectors=["service"],
)
async def chaos_model(
    ctx: Context, klass: Klass, service: Service, model: Model, seconds: Seconds
) -> Worked:
    """Have a loaded model answer."""
    lease = ctx.lease
    if lease is None:
        raise Conflict("It runs as a job with a card only")
    about = {"lease": lease.id, "job": ctx.caller.job_id}
    await _asked(ctx, service, {"model": model, "seconds": seconds, **about})
    return Worked(node=lease.node, token=lease.token)


@tool(effect=Effect.WRITE, timeout=120.0, examples=SAYS, selectors=["service"])
async def chaos_chat(ctx: Context, service: Service, model: Model, seconds: Seconds) -> Worked:
    """Have a model answer as a chat does: the server loads it by itself, under a lease."""
    need = GpuNeed(service=service, model=model, klass=PriorityClass.CHAT, what="a chat")
    async with ctx.parts.leases.hold(need, wait_seconds=20.0, load=False) as lease:
        about = {"call": ctx.call_id, "chat": lease.id}
        await _asked(ctx, service, {"model": model, "seconds": seconds, **about})
    return Worked(node=lease.node, token=lease.token)


async def _asked(ctx: Context, service: str, body: dict[str, Any]) -> None:
    """Send a request to a server of models, and hear its answer to the end."""
    services = ctx.parts.services.map
    spec = services.service(service)
    if spec is None:
        raise Conflict(f"{service} is not in the service map")
    last: dict[str, Any] = {}
    wait = httpx.Timeout(body["seconds"] + 30, connect=3)
    try:
        url = services.address(spec) + "/api/chat"
        async with ctx.parts.http.stream("POST", url, json=body, timeout=wait) as answer:
            if answer.is_error:
                raise UpstreamRejected(f"{service} refused with error {answer.status_code}")
            async for line in answer.aiter_lines():
                last = json.loads(line)
    except httpx.HTTPError as error:
        raise UpstreamUnavailable(f"{service} broke off") from error
    if not last.get("done"):
        raise UpstreamUnavailable(f"{service} broke off")


def registry() -> Registry:
    """Return the product's tools and these."""
    own = (chaos_keyed, chaos_opaque, chaos_train, chaos_model, chaos_chat)
    return Registry([*Registry.discover("tools", "graphs"), *own])
