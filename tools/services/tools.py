"""The service map's face, and the services that machines' agents look after."""

import time
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from nebula.errors import NotFound
from nebula.policy.selectors import Kind
from nebula.services.directory import ServiceDirectory
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from tools.services import service as rules
from tools.services.previews import deploy_preview, deploy_versions
from tools.services.schemas import Deployed, ServiceAction, ServiceEntry, ServiceList, ServiceLog

ServiceName = Annotated[
    str,
    Field(min_length=1, max_length=200, description="The service, by its name or an alias"),
]
OnNode = Annotated[
    str | None,
    Field(max_length=80, description="Which machine; the one that has it when left out"),
]


@tool(
    effect=Effect.READ,
    outside=True,
    rest="GET /services",
    says=[
        "(list|show) [me] [all] [the|my] services [on {node}]",
        "(which|what) services (are there|are up|are running|do i have)",
        "(check|show) [the] (service|services) (health|status|map)",
        "(check|show) [me] [the] (health|status) of [the|my|all] services",
        "is {service} (up|down|running|alive|reachable|healthy)",
        "[check|show] [the] (health|status) of {service}",
    ],
    examples=[
        "list services",
        "which services are running",
        "is ComfyUI up",
        "is Ollama down",
        "check the health of all services",
        "show the service map",
    ],
)
async def services_list(
    ctx: Context,
    service: Annotated[
        str | None,
        Field(max_length=200, description="Only the service of this name or alias"),
    ] = None,
    node: Annotated[
        str | None, Field(max_length=80, description="Only the services of this node")
    ] = None,
    state: Annotated[
        str | None,
        Field(
            pattern="^(up|down|slow|unhealthy|unknown)$",
            description="Only services in this state: up, down, slow, unhealthy or unknown",
        ),
    ] = None,
) -> ServiceList:
    """List the services of the map and of machines' agents, with their health right now."""
    directory = ctx.parts.services
    await directory.refresh()
    machines = await ctx.parts.nodes.list()
    own = list(rules.looked_after(machines, directory.map, service))
    wanted = _wanted(directory, service, own) if service else None
    health = await directory.health()
    aliases = {s.name: list(s.aliases) for s in directory.map.services}
    found = [
        ServiceEntry(
            name=h.name,
            kind=h.kind,
            node=h.node,
            address=h.address,
            state=h.state.value,
            reason=h.reason,
            latency_ms=h.latency_ms,
            aliases=aliases.get(h.name, []),
            simulated=h.simulated,
        )
        for h in health
        if wanted is None or h.name in wanted
    ]
    found += own
    return ServiceList(
        services=[s for s in found if node in {None, s.node} and state in {None, s.state}],
        map_problems=[str(p) for p in directory.problems],
        outside=any(m.name == node or node is None for m in machines),
    )


def _wanted(
    directory: ServiceDirectory, service: str, own: Sequence[ServiceEntry]
) -> frozenset[str]:
    """Return the services of the map that a name means; none when it is an agent's alone."""
    try:
        return directory.find(service)
    except NotFound:
        if not own:
            raise
        return frozenset()


async def _act(ctx: Context, service: str, node: str | None, action: str) -> ServiceAction:
    await ctx.parts.services.refresh()
    there, name = await rules.find(ctx.parts.nodes, ctx.parts.services.map, service, node)
    report = await (await ctx.parts.nodes.client(there.name)).service(name, action)
    return ServiceAction(
        service=name, node=there.name, state=report.state.value, reason=report.reason
    )


@tool(
    effect=Effect.WRITE,
    outside=True,
    kind=EffectKind.IDEMPOTENT,
    selectors={"service": Kind.SERVICE, "node": Kind.NODE},
    rest="POST /services/{service}/start",
    says=["start [the] [service] {service} [on {node}]"],
    examples=["start ComfyUI on gaming-pc", "bring Ollama up again", "start the service ollama"],
    timeout=90.0,
)
async def services_start(ctx: Context, service: ServiceName, node: OnNode = None) -> ServiceAction:
    """Start a service that a machine's agent looks after; one that runs is left alone."""
    return await _act(ctx, service, node, "start")


@tool(
    effect=Effect.WRITE,
    outside=True,
    kind=EffectKind.IDEMPOTENT,
    selectors={"service": Kind.SERVICE, "node": Kind.NODE},
    rest="POST /services/{service}/stop",
    says=["(stop|shut down) [the] [service] {service} [on {node}]"],
    examples=["stop ComfyUI on gaming-pc", "shut down SD WebUI", "stop the service ollama"],
    timeout=90.0,
)
async def services_stop(ctx: Context, service: ServiceName, node: OnNode = None) -> ServiceAction:
    """Stop a service that a machine's agent looks after; it stays stopped until it is started."""
    return await _act(ctx, service, node, "stop")


@tool(
    effect=Effect.WRITE,
    outside=True,
    kind=EffectKind.OPAQUE,
    selectors={"service": Kind.SERVICE, "node": Kind.NODE},
    rest="POST /services/{service}/restart",
    says=["restart [the] [service] {service} [on {node}]"],
    examples=["restart ComfyUI", "restart Ollama on gaming-pc", "ComfyUI hangs, start it anew"],
    timeout=90.0,
)
async def services_restart(
    ctx: Context, service: ServiceName, node: OnNode = None
) -> ServiceAction:
    """Stop a service that a machine's agent looks after, and start it again."""
    return await _act(ctx, service, node, "restart")


@tool(
    effect=Effect.READ,
    outside=True,
    rest="GET /services/{service}/logs",
    says=["(show|get) [me] [the] (log|logs) of [the] [service] {service} [on {node}]"],
    examples=[
        "show the logs of ComfyUI",
        "what did Ollama print last",
        "why did SD WebUI crash, show its log",
    ],
)
async def services_logs(
    ctx: Context,
    service: ServiceName,
    node: OnNode = None,
    lines: Annotated[int, Field(ge=1, le=1000, description="How many lines from its end")] = 100,
) -> ServiceLog:
    """Show the end of the log of a service that a machine's agent looks after."""
    await ctx.parts.services.refresh()
    there, name = await rules.find(ctx.parts.nodes, ctx.parts.services.map, service, node)
    found = await (await ctx.parts.nodes.client(there.name)).logs(name, lines=lines)
    return ServiceLog(service=name, node=there.name, lines=list(found.lines))


@tool(
    effect=Effect.DESTRUCTIVE,
    kind=EffectKind.CHECK_THEN_ACT,
    background=True,
    selectors={"service": Kind.SERVICE, "node": Kind.NODE},
    preview=deploy_preview,
    versions=deploy_versions,
    outside=True,
    rest="POST /services/deploy",
    says=[
        "(deploy|install|set up) {service} on [the] [machine|node] {node}",
    ],
    examples=[
        "install Ollama on gaming-pc",
        "deploy ComfyUI on the gaming PC",
        "set up SD WebUI on gaming-pc",
    ],
    timeout=4 * 3600.0,
)
async def services_deploy_ai(
    ctx: Context,
    service: Annotated[
        str,
        Field(min_length=1, max_length=60, description="ollama, comfyui, sdwebui, or own recipe"),
    ],
    node: Annotated[
        str, Field(min_length=1, max_length=80, description="The machine; see nodes_list")
    ],
) -> Deployed:
    """Install an AI service on a machine, start it, check it, and have it start by itself.

    Disk and card are checked first. What fails is removed again.
    """
    began = time.monotonic()
    client = await ctx.parts.nodes.client(node)
    recipe = await rules.recipe_of(client, service)
    if not recipe.installed:
        rules.require_room(node, await client.hardware(), recipe)
    report = await rules.install(ctx, client, recipe)
    return Deployed(
        service=recipe.name,
        kind=recipe.kind,
        version=recipe.version,
        node=node,
        port=report.port,
        seconds=time.monotonic() - began,
    )
