"""The machines that joined."""

import contextlib
from typing import Annotated, Any, Literal

from pydantic import Field

from nebula.errors import Conflict, NebulaError, UpstreamUnavailable
from nebula.gpu.leases.need import GpuNeed
from nebula.gpu.policy.types import PriorityClass
from nebula.policy.selectors import Kind
from nebula.services.nodes.bootstrap import checked_link, script
from nebula.services.nodes.follow import follow, task_id
from nebula.services.nodes.node import NodeHealth
from nebula.services.nodes.wake import wake
from nebula.services.sizes import GIB
from nebula.tool.context import Context
from nebula.tool.definition import Audience, Effect, EffectKind, tool
from node.protocol import DEFAULT_PORT, TaskRequest
from tools.nodes import service
from tools.nodes.previews import command_preview, command_versions
from tools.nodes.schemas import (
    BootstrapScript,
    CommandDone,
    HardwareReport,
    NodeEntry,
    NodeList,
    NodeReport,
    Woken,
)

_DAY = 24 * 3600.0
_OUT_OF_TOUCH_SECONDS = 120.0

NodeName = Annotated[
    str, Field(min_length=1, max_length=80, description="The machine's name; see nodes_list")
]


@tool(
    effect=Effect.READ,
    outside=True,
    rest="GET /nodes",
    says=[
        "(list|show) [me] [all] [the|my] (machines|nodes|computers)",
        "(which|what) (machines|nodes|computers) (are there|are online|joined|do i have)",
        "are [all] [the|my] (machines|nodes|computers) online",
    ],
    examples=[
        "which machines are online",
        "list my nodes",
        "is the gaming PC on",
        "show all computers that joined",
    ],
)
async def nodes_list(ctx: Context) -> NodeList:
    """List the machines with their health and cards: those that joined, and those of the map."""
    joined = await ctx.parts.nodes.list()
    names = {node.name for node in joined}
    await ctx.parts.services.refresh()
    others = [
        NodeEntry(
            name=spec.name,
            health="simulated" if spec.simulated else "in the map",
            joined=False,
            address="simulated" if spec.simulated else spec.address,
            cards=service.mapped_cards(spec),
        )
        for spec in ctx.parts.services.map.nodes
        if spec.name not in names and not spec.agent
    ]
    return NodeList(nodes=[*map(service.entry, joined), *others])


@tool(
    effect=Effect.READ,
    outside=True,
    rest="GET /nodes/{node}",
    says=[
        "(show|describe) [me] [the] (machine|node|computer) {node}",
        "how is [the] (machine|node|computer) {node}",
    ],
    examples=[
        "how is the node gaming-pc doing",
        "what runs on gaming-pc",
        "which commands may I run on gaming-pc",
    ],
)
async def nodes_get(ctx: Context, node: NodeName) -> NodeReport:
    """Show one machine: health, hardware, use, tasks, services, and what may be run on it."""
    return service.report(await ctx.parts.nodes.get(node))


@tool(
    effect=Effect.READ,
    outside=True,
    rest="GET /nodes/{node}/hardware",
    says=[
        "(detect|show|check) [the] hardware (of|on) {node}",
        "what hardware (does {node} have|is in {node})",
    ],
    examples=[
        "which GPU is in gaming-pc",
        "how much VRAM and RAM does gaming-pc have",
        "detect the hardware of gaming-pc again",
    ],
    timeout=60.0,
)
async def nodes_detect_hardware(ctx: Context, node: NodeName) -> HardwareReport:
    """Have a machine look at itself anew: cards, driver, CUDA or ROCm, processor, memory, disk."""
    client = await ctx.parts.nodes.client(node)
    return service.hardware_report(node, await client.hardware())


def _gpu_need(given: Any) -> GpuNeed | None:
    """Return what a command takes of a card, when it was said."""
    if given.vram_gb is None:
        return None
    return GpuNeed(
        klass=PriorityClass.BATCH,
        vram=int(given.vram_gb * GIB),
        node=given.node,
        what=f"{given.command} on {given.node}"[:200],
    )


@tool(
    effect=Effect.DESTRUCTIVE,
    kind=EffectKind.OPAQUE,
    background=True,
    gpu=_gpu_need,
    outside=True,
    selectors={"node": Kind.NODE, "command": Kind.WORDS, "args": Kind.WORDS},
    critical=True,
    preview=command_preview,
    versions=command_versions,
    rest="POST /nodes/{node}/commands",
    says=["run [the command] {command} on [the (machine|node)] {node}"],
    examples=[
        "run nvidia-smi on gaming-pc",
        "run the command disk on gaming-pc",
        "start the training command on gaming-pc with 8 GB of VRAM",
    ],
    timeout=_DAY,
)
async def nodes_run_command(
    ctx: Context,
    node: NodeName,
    command: Annotated[
        str, Field(min_length=1, max_length=60, description="A name of the machine's allow-list")
    ],
    args: Annotated[
        list[Annotated[str, Field(max_length=500)]],
        Field(max_length=50, description="Words added to it, where its owner allows that"),
    ] = [],  # noqa: B006 - pydantic copies it
    vram_gb: Annotated[
        float | None,
        Field(
            gt=0, le=1024, description="VRAM it needs: it waits for a card and runs under a lease"
        ),
    ] = None,
) -> CommandDone:
    """Run a command that the machine's owner allows, as a job; its output goes to the job's log."""
    client = await ctx.parts.nodes.client(node)
    lease = ctx.lease
    if vram_gb is not None and lease is None:
        raise Conflict("No card was given to it", hint="Ask again without vram_gb, or later.")
    if lease is not None and lease.node != node:
        raise Conflict(f"It was given a card of {lease.node}, not of {node}")
    request = TaskRequest(
        task_id=task_id(ctx.call_id),
        command=command,
        args=tuple(args),
        gpu=lease.gpu if lease else None,
        token=lease.token if lease else None,
        lease_seconds=None if lease else _OUT_OF_TOUCH_SECONDS,
        vram=int(vram_gb * GIB) if vram_gb is not None else None,
        job=ctx.caller.job_id,
    )
    done = await follow(ctx, client, request)
    began, ended = done.report.started_at or 0.0, done.report.ended_at or 0.0
    return CommandDone(
        node=node,
        command=command,
        exit_code=-1 if done.report.exit_code is None else done.report.exit_code,
        seconds=max(0.0, ended - began),
        lines=done.lines,
    )


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.OPAQUE,
    permission="nodes:admin",
    audience=Audience.HUMAN,
    selectors={"system": Kind.CHOICE, "name": Kind.WORDS},
    rest="POST /nodes/bootstrap",
    says=[
        "(add|set up|join|connect) [a|another|a new] (machine|node|computer)",
        "(add|set up|join|connect) [a|another|a new] {system} (machine|node|computer|pc)",
    ],
    examples=[
        "add another machine",
        "give me the script that sets up a Windows machine",
        "connect my gaming PC to Jarvis",
        "join a Linux box",
    ],
)
async def nodes_bootstrap(
    ctx: Context,
    system: Annotated[
        Literal["linux", "windows"], Field(description="What runs on the machine")
    ] = "linux",
    name: Annotated[
        str, Field(max_length=40, description="What to call it; its host name when left out")
    ] = "",
    port: Annotated[
        int, Field(ge=1024, le=65535, description="The port its agent listens on")
    ] = DEFAULT_PORT,
    minutes: Annotated[
        float, Field(ge=1, le=1440, description="How long the script can be used")
    ] = 60,
) -> BootstrapScript:
    """Make a script that installs the agent on another machine with one paste and lets it join.

    It holds a join token that works once, so no model is ever shown it.
    """
    link = ctx.parts.settings.link
    checked_link(link)
    token = await ctx.parts.nodes.create_token(ctx.principal.name, minutes=minutes)
    made = await script(system, link, token.token, name=name, port=port)
    return BootstrapScript(
        system=system, script=made.text, expires_at=token.expires_at, note=made.note
    )


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    selectors={"node": Kind.NODE},
    rest="POST /nodes/{node}/wake",
    says=["(wake|wake up|turn on|switch on|power on) [the] [machine|node|computer] {node}"],
    examples=["wake gaming-pc", "turn the gaming PC on", "wake up the node gaming-pc"],
)
async def nodes_wake(ctx: Context, node: NodeName) -> Woken:
    """Wake a machine that joined before (Wake-on-LAN), from here and from machines beside it."""
    asleep = await ctx.parts.nodes.get(node)
    if asleep.health is NodeHealth.ONLINE:
        raise Conflict(f"{node} is awake already")
    mac = service.mac_of(asleep)
    through: list[str] = []
    failed = ""
    try:
        await wake(mac, asleep.hardware.broadcast)
        through.append("this machine")
    except UpstreamUnavailable as error:
        failed = str(error)
    for helper in await service.wakers(ctx.parts.nodes, asleep):
        with contextlib.suppress(NebulaError):
            await (await ctx.parts.nodes.client(helper.name)).wake(mac, asleep.hardware.broadcast)
            through.append(helper.name)
    if not through:
        raise UpstreamUnavailable(failed or "Nobody could send the packet")
    return Woken(node=node, mac=mac, through=through)
