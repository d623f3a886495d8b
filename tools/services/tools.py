"""The service map's face."""

from typing import Annotated

from pydantic import Field

from nebula.tool.context import Context
from nebula.tool.definition import Effect, tool
from tools.services.schemas import ServiceEntry, ServiceList


@tool(
    effect=Effect.READ,
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
    """List the services of the service map with their health right now, and the map's mistakes."""
    directory = ctx.parts.services
    await directory.refresh()
    wanted = directory.find(service) if service else None
    found = await directory.health()
    aliases = {s.name: list(s.aliases) for s in directory.map.services}
    return ServiceList(
        services=[
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
            for h in found
            if node in {None, h.node} and state in {None, h.state.value}
            if wanted is None or h.name in wanted
        ],
        map_problems=[str(p) for p in directory.problems],
    )
