"""The GPU's face: what is on the cards, and making them serve something else."""

from typing import Annotated

from pydantic import Field

from nebula.errors import NotFound
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from tools.gpu.schemas import GpuStatus, PlanReport, SwitchReport, UnloadReport
from tools.gpu.service import plan_of, status_of, switch_of, unload_of

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


@tool(
    effect=Effect.READ,
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
    """Show every graphics card: VRAM total, used and free, what is loaded, and other programs.

    Figures nobody can give are null (unknown), which is not zero.
    """
    services = ctx.parts.services
    snapshot = await ctx.parts.broker.snapshot()
    if node is not None and snapshot.node(node) is None:
        known = ", ".join(n.name for n in snapshot.nodes) or "none"
        raise NotFound(f"There is no node {node!r} in the service map", hint=f"Nodes: {known}.")
    return status_of(snapshot, services.map, node)


@tool(
    effect=Effect.READ,
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
    return plan_of(await ctx.parts.broker.plan(service, node))


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    rest="POST /gpu/orchestrator",
    selectors=["service", "node", "force"],
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
    return switch_of(
        await ctx.parts.broker.switch(service, node, force=force, progress=ctx.progress)
    )


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    selectors=["service", "node"],
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
    return switch_of(await ctx.parts.broker.load(service, node, progress=ctx.progress))


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    selectors=["service", "node", "force"],
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
    return unload_of(
        await ctx.parts.broker.unload(service or None, node, force=force, progress=ctx.progress)
    )
