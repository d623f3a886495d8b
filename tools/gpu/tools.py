"""The GPU's face: what is on the cards, and making them serve something else."""

from contextlib import suppress
from typing import Annotated

from pydantic import Field

from nebula.errors import Conflict, NotFound
from nebula.policy.selectors import Kind
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from tools.gpu.previews import lease_called, lease_preview, lease_versions, switch_preview
from tools.gpu.queue import GpuLeases, GpuQueue, ReleasedLease
from tools.gpu.schemas import GpuStatus, PlanReport, SwitchReport, UnloadReport
from tools.gpu.service import (
    lease_of,
    marked,
    plan_of,
    queue_of,
    status_names,
    status_of,
    switch_of,
    unload_of,
)

Service = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        description="A service of the service map, one of its aliases, or a model name",
    ),
]
Node = Annotated[
    str | None,
    Field(max_length=80, description="Which node; the one that suits best when left out"),
]
Force = Annotated[bool, Field(description="Stop work that runs instead of waiting for it")]

# Waiting for a busy service, unloading, loading: each has its own limit in the broker.
_SECONDS = 400.0
_DECISIONS = 8


@tool(
    effect=Effect.READ,
    outside=True,
    rest="GET /gpu/orchestrator",
    says=[
        "(check|show) [me] [the] (gpu|graphics card|vram) [status|usage]",
        "[the] (gpu|vram) (status|usage) [of {node}]",
        "how much (vram|gpu memory) (is free|is left|do i have) [on {node}]",
        "what is [(loaded|running)] on [the|my] (gpu|graphics card)",
    ],
    examples=[
        "check GPU status",
        "how much vram is free",
        "what is on my graphics card",
        "which models are loaded right now",
        "who is using the gpu",
        "is there room on the 3060",
        "gpu temperature and utilization",
        "nvidia-smi",
    ],
)
async def gpu_status(ctx: Context, node: Node = None) -> GpuStatus:
    """Show every graphics card: VRAM total, used and free, what is loaded, other programs, who waits.

    Figures nobody can give are null (unknown), which is not zero.
    """
    services = ctx.parts.services
    snapshot = await ctx.parts.broker.snapshot()
    if node is not None and snapshot.node(node) is None:
        known = ", ".join(n.name for n in snapshot.nodes) or "none"
        raise NotFound(f"There is no node {node!r} in the service map", hint=f"Nodes: {known}.")
    leases = ctx.parts.leases
    queue = queue_of(await leases.rows(), await leases.records.decisions(_DECISIONS), node)
    status = status_of(snapshot, services.map, node, queue)
    return marked(status, status_names(status), services.map)


@tool(
    effect=Effect.READ,
    outside=True,
    rest="GET /gpu/plan",
    says=[
        "what would happen if i (load|switch to|start) {service} [on {node}]",
        "(would|does|will) {service} fit [on {node}]",
        "(is there|do i have) (room|space|enough vram|enough memory) for {service} [on {node}]",
        "(can i|could i) (load|run) {service} [on {node}]",
        "what (would|must) (be unloaded|go) for {service}",
    ],
    examples=[
        "what would happen if I load flux",
        "does SDXL fit",
        "plan a switch to Stable Diffusion",
        "what would be evicted for flux and why",
        "can I run the 8b model and image generation together",
    ],
)
async def gpu_plan(ctx: Context, service: Service, node: Node = None) -> PlanReport:
    """Say what switching to a service or model would unload and why, without doing it."""
    plan = plan_of(await ctx.parts.broker.plan(service, node))
    names = [plan.model or plan.service, *(e.model or e.service for e in plan.evicts), *plan.stays]
    return marked(plan, [*names, plan.node], ctx.parts.services.map)


@tool(
    effect=Effect.WRITE,
    outside=True,
    kind=EffectKind.IDEMPOTENT,
    rest="POST /gpu/orchestrator",
    selectors={"service": Kind.SERVICE, "node": Kind.NODE, "force": Kind.CHOICE},
    preview=switch_preview,
    timeout=_SECONDS,
    says=[
        "switch [the gpu] to [the] {service} [on {node}]",
        "(switch|change) (the|my) (gpu|graphics card) [over] to {service} [on {node}]",
        "give [the] gpu to [the] {service}",
        "make room for [the] {service}",
        "(use|start) {service} on [the] gpu",
    ],
    examples=[
        "switch to Stable Diffusion",
        "switch the gpu to llama",
        "I want to make images now",
        "make room for flux",
        "give the graphics card to ComfyUI",
        "go back to the chat model",
    ],
)
async def gpu_switch(
    ctx: Context, service: Service, node: Node = None, force: Force = False
) -> SwitchReport:
    """Make a GPU serve another AI service, unloading first whatever does not fit beside it.

    Programs that are not ours and pinned models stay. A service that works is waited for.
    """
    done = await ctx.parts.broker.switch(service, node, force=force, progress=ctx.progress)
    return _told(ctx, switch_of(done))


@tool(
    effect=Effect.WRITE,
    outside=True,
    kind=EffectKind.IDEMPOTENT,
    selectors={"service": Kind.SERVICE, "node": Kind.NODE},
    timeout=_SECONDS,
    says=[
        "(load|warm up|preload) [the [model]] {service} [on {node}]",
    ],
    examples=[
        "load llama3.1:8b",
        "warm up SDXL",
        "preload the embedding model",
        "bring the chat model back",
    ],
)
async def gpu_load(ctx: Context, service: Service, node: Node = None) -> SwitchReport:
    """Load a model or service on a GPU when there is room for it; unload nothing."""
    return _told(ctx, switch_of(await ctx.parts.broker.load(service, node, progress=ctx.progress)))


@tool(
    effect=Effect.WRITE,
    outside=True,
    kind=EffectKind.IDEMPOTENT,
    selectors={"service": Kind.SERVICE, "node": Kind.NODE, "force": Kind.CHOICE},
    timeout=_SECONDS,
    says=[
        "unload [the] {service} [from [the] gpu]",
        "free [up] [the|my] (gpu|vram|graphics card)",
        "(remove|drop|evict) {service} from [the] gpu",
        "unload everything",
    ],
    examples=[
        "unload ComfyUI",
        "free the gpu",
        "take llama off the graphics card",
        "empty the vram, I want to play a game",
        "unload all models",
    ],
)
async def gpu_unload(
    ctx: Context,
    service: Annotated[
        str | None,
        Field(
            max_length=200,
            description="A service, alias or model; everything that is not pinned when left out",
        ),
    ] = None,
    node: Node = None,
    force: Force = False,
) -> UnloadReport:
    """Unload a model, a service's models, or everything from a GPU, and see that VRAM came free."""
    broker = ctx.parts.broker
    gone = unload_of(await broker.unload(service or None, node, force=force, progress=ctx.progress))
    return marked(gone, [gone.node, *gone.unloaded], ctx.parts.services.map)


@tool(
    effect=Effect.READ,
    outside=True,
    rest="GET /gpu/leases",
    says=[
        "(list|show) [me] [the] (gpu|vram) leases",
        "who (holds|has) [the|a] gpu [lease]",
        "(who|what) (waits|is waiting) for [the|a] gpu",
    ],
    examples=[
        "who is using the graphics card right now",
        "list the gpu leases",
        "what is waiting for the gpu and why",
        "why does my image job not start",
    ],
)
async def gpu_list_leases(ctx: Context, node: Node = None) -> GpuLeases:
    """List who uses GPU memory right now, under which lease, and who waits for it and why."""
    leases = await ctx.parts.leases.rows()
    queue = queue_of(leases, (), node)
    shown = GpuQueue(leases=queue.leases, waiting=queue.waiting)
    return marked(GpuLeases(queue=shown), shown.names(), ctx.parts.services.map)


@tool(
    effect=Effect.DESTRUCTIVE,
    outside=True,
    kind=EffectKind.IDEMPOTENT,
    rest="DELETE /gpu/leases/{lease}",
    selectors={"lease": Kind.ID},
    preview=lease_preview,
    versions=lease_versions,
    says=[
        "(release|revoke|take away) [the] [gpu] lease {lease}",
        "end [the] gpu lease {lease}",
    ],
    examples=[
        "release the gpu lease 3f2a",
        "take the graphics card away from that job",
        "revoke the lease of the training run",
    ],
)
async def gpu_release_lease(
    ctx: Context,
    lease: Annotated[
        str, Field(min_length=4, max_length=64, description="The lease's id, or its beginning")
    ],
) -> ReleasedLease:
    """Take a GPU lease away from whoever holds it: its work is stopped, its job is cancelled.

    The memory is given to others only when the work is known to have stopped.
    """
    leases = ctx.parts.leases
    gone = await leases.release((await lease_called(ctx, lease)).id, ctx.principal)
    cancelled = False
    if gone.job_id is not None:
        # A job that ended just now needs no cancelling; one of somebody else is theirs to cancel.
        with suppress(Conflict, NotFound):
            await ctx.parts.jobs.cancel(gone.job_id, ctx.principal)
            cancelled = True
    taken = lease_of(gone, (await leases.rows()).now)
    released = ReleasedLease(lease=taken, job_cancelled=cancelled)
    return marked(released, GpuQueue(leases=[taken]).names(), ctx.parts.services.map)


def _told(ctx: Context, report: SwitchReport) -> SwitchReport:
    names = [report.model or report.service, *(e.model or e.service for e in report.evicted)]
    return marked(report, [*names, report.node], ctx.parts.services.map)
