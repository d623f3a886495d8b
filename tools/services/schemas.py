"""What the service tools return."""

from collections.abc import Sequence

from pydantic import BaseModel, Field

from nebula.policy.labels import Label
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
    outside: bool = Field(False, exclude=True)

    def origin(self) -> Label:
        """Return OUTSIDE when a machine that joined named itself or its services."""
        return Label.OUTSIDE if self.outside else Label.SYSTEM

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


class ServiceAction(Result):
    """A service that was started, stopped or restarted."""

    service: str
    node: str
    state: str
    reason: str = ""

    def render(self) -> Sequence[Block]:
        """Say how it is now."""
        why = f": {escape(self.reason)}" if self.reason else ""
        said = f"**{escape(self.service)}** on {escape(self.node)} is {self.state}{why}."
        return [Markdown(text=said)]


class ServiceLog(Result):
    """The end of a service's log."""

    service: str
    node: str
    lines: list[str]

    def render(self) -> Sequence[Block]:
        """Show the lines."""
        if not self.lines:
            return [Markdown(text=f"{escape(self.service)} has printed nothing yet.")]
        shown = "\n".join(f"    {escape(line)}" for line in self.lines)
        return [Markdown(text=f"The log of **{escape(self.service)}**:\n\n{shown}")]


class Deployed(Result):
    """A service that was installed and answers."""

    service: str
    kind: str
    version: str
    node: str
    port: int | None = None
    seconds: float

    def render(self) -> Sequence[Block]:
        """Say what was installed and where it answers."""
        where = f" at port {self.port}" if self.port else ""
        said = (
            f"**{escape(self.service)}** {escape(self.version)} runs on {escape(self.node)}{where} "
            f"and starts with that machine. It took {self.seconds:.0f} s."
        )
        return [Markdown(text=said)]
