"""What the service tools return."""

from collections.abc import Sequence

from pydantic import BaseModel, Field

from nebula.tool.render import escape
from nebula.tool.result import Block, Markdown, Result, Table


class ServiceEntry(BaseModel):
    """A service of the map and how it is."""

    name: str
    kind: str
    node: str
    address: str
    state: str
    reason: str = ""
    latency_ms: float | None = None
    aliases: list[str] = Field(default_factory=list)
    simulated: bool = False


class ServiceList(Result):
    """Every service with its health, and what is wrong with the map's file."""

    services: list[ServiceEntry]
    map_problems: list[str] = Field(default_factory=list)

    def render(self) -> Sequence[Block]:
        """Show a sentence and a table."""
        up = sum(s.state == "up" for s in self.services)
        said = [f"{up} of {len(self.services)} services are up."]
        if any(s.simulated for s in self.services):
            said.append("Those marked simulated are not real.")
        if self.map_problems:
            said.append(
                "**The service map has mistakes and was not taken; the last good one is in force.**"
            )
            said += [f"`{escape(p)}`" for p in self.map_problems]
        rows = [[s.name, s.kind, s.node, _state(s), _where(s)] for s in self.services]
        columns = ["Service", "Kind", "Node", "State", "Where"]
        return [Markdown(text=" ".join(said)), Table(title="Services", columns=columns, rows=rows)]


def _state(service: ServiceEntry) -> str:
    """Return the state; a simulated service is never simply up."""
    if service.simulated:
        return "simulated"
    took = "" if service.latency_ms is None else f" ({service.latency_ms:.0f} ms)"
    return f"{service.state}{took}"


def _where(service: ServiceEntry) -> str:
    if service.simulated or not service.reason:
        return service.address
    return f"{service.address}: {service.reason}"
