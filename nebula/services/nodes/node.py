"""A joined machine as the rest of the program sees it."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, TypeAdapter

from nebula.gpu.snapshot import GpuProcess, GpuReading
from nebula.services.map import ServiceMap
from node.protocol import (
    Card,
    FoundService,
    Hardware,
    Heartbeat,
    Metrics,
    ServiceReport,
    TaskReport,
)

LATE_SECONDS = 5.0
OFFLINE_SECONDS = 15.0
_GATHERED_SECONDS = 1.0
"""How much older than its heartbeat a figure may be."""

HARDWARE: TypeAdapter[Hardware] = TypeAdapter(Hardware)
FOUND: TypeAdapter[tuple[FoundService, ...]] = TypeAdapter(tuple[FoundService, ...])
HEARTBEAT: TypeAdapter[Heartbeat] = TypeAdapter(Heartbeat)


class NodeHealth(StrEnum):
    """How long ago the agent was heard, by the database's clock."""

    ONLINE = "online"
    LATE = "late"
    OFFLINE = "offline"


class Node(BaseModel):
    """A machine that joined, with what its agent told last."""

    model_config = ConfigDict(frozen=True)

    name: str
    url: str
    health: NodeHealth
    silent_seconds: float | None = None
    """Since its last heartbeat; None = never heard."""
    joined_at: datetime
    hardware: Hardware
    found: tuple[FoundService, ...] = ()
    metrics: Metrics = Metrics()
    tasks: tuple[TaskReport, ...] = ()
    services: tuple[ServiceReport, ...] = ()
    commands: tuple[str, ...] = ()
    recipes: tuple[str, ...] = ()

    @property
    def cards(self) -> tuple[Card, ...]:
        """Return its cards by the newest word."""
        return self.metrics.cards or self.hardware.cards


def health_of(silent_seconds: float | None) -> NodeHealth:
    """Judge a node by how long it has been silent."""
    if silent_seconds is None or silent_seconds > OFFLINE_SECONDS:
        return NodeHealth.OFFLINE
    return NodeHealth.LATE if silent_seconds > LATE_SECONDS else NodeHealth.ONLINE


def readings(node: Node, services: ServiceMap) -> tuple[GpuReading, ...]:
    """Return the cards of a node as the broker reads cards; each process with its service.

    A node that is silent tells nothing of now: its cards are known, their use is not.
    """
    ports = {_port(services.address(s)): s.name for s in services.on(node.name)}
    leased = {(t.gpu, t.id) for t in node.tasks if t.token is not None}
    return tuple(
        GpuReading(
            index=card.index,
            name=card.name,
            vram_total=card.vram_total,
            vram_used=card.vram_used,
            utilization=card.utilization,
            temperature=card.temperature,
            power=card.power,
            processes=tuple(
                GpuProcess(
                    pid=p.pid,
                    name=p.name,
                    vram=p.vram,
                    service=ports.get(p.port) if p.port else None,
                    task=p.task if (card.index, p.task) in leased else None,
                )
                for p in card.processes
            ),
            source="node",
            age=(node.silent_seconds or 0.0) + _GATHERED_SECONDS,
        )
        if node.health is not NodeHealth.OFFLINE
        else GpuReading(index=card.index, name=card.name, vram_total=card.vram_total, source="node")
        for card in node.cards
    )


def _port(address: str) -> int | None:
    from urllib.parse import urlsplit

    return urlsplit(address).port
