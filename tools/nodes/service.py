"""The rules of machines: what is shown of them, and how one is woken."""

from collections.abc import Sequence

from nebula.errors import Conflict
from nebula.services.map import NodeSpec
from nebula.services.nodes.node import Node, NodeHealth
from nebula.services.nodes.registry import NodeRegistry
from node.protocol import Card, Hardware
from tools.nodes.schemas import (
    CardEntry,
    HardwareReport,
    NodeEntry,
    NodeReport,
    ServiceLine,
    TaskEntry,
    in_gb,
)


def entry(node: Node) -> NodeEntry:
    """Show a machine in a line."""
    return NodeEntry(
        name=node.name,
        health=node.health.value,
        joined=True,
        address=node.url,
        silent_seconds=node.silent_seconds,
        cards=cards(node.cards),
        tasks=sum(not t.state.ended for t in node.tasks),
    )


def cards(found: Sequence[Card]) -> list[CardEntry]:
    """Show cards with sizes in gigabytes."""
    return [
        CardEntry(
            index=c.index,
            name=c.name,
            vendor=c.vendor,
            vram_gb=in_gb(c.vram_total),
            vram_used_gb=in_gb(c.vram_used),
            utilization=c.utilization,
        )
        for c in found
    ]


def mapped_cards(spec: NodeSpec) -> list[CardEntry]:
    """Show the cards that the service map says a machine has."""
    return [
        CardEntry(index=c.index, name=c.name, vendor="card", vram_gb=in_gb(c.vram))
        for c in spec.gpus
    ]


def hardware_report(name: str, found: Hardware) -> HardwareReport:
    """Show what a machine is made of."""
    disk = found.disks[0] if found.disks else None
    return HardwareReport(
        node=name,
        hostname=found.hostname,
        os=f"{found.os} {found.os_version}".strip(),
        cpu=found.cpu,
        cores=found.cores or found.threads,
        ram_gb=in_gb(found.ram),
        disk_free_gb=in_gb(disk.free) if disk else None,
        disk_total_gb=in_gb(disk.total) if disk else None,
        cards=cards(found.cards),
        driver=next((c.driver for c in found.cards if c.driver), None),
        cuda=found.cuda,
        rocm=found.rocm,
        tailscale=found.tailscale,
        mac=found.mac,
        python=found.python,
        notes=list(found.notes),
    )


def report(node: Node) -> NodeReport:
    """Show everything about a machine."""
    return NodeReport(
        name=node.name,
        health=node.health.value,
        address=node.url,
        silent_seconds=node.silent_seconds,
        joined_at=node.joined_at,
        hardware=hardware_report(node.name, node.hardware),
        cpu=node.metrics.cpu,
        ram_used_gb=in_gb(node.metrics.ram_used),
        cards=cards(node.cards),
        tasks=[
            TaskEntry(
                id=t.id,
                command=t.command,
                state=t.state.value,
                gpu=t.gpu,
                exit_code=t.exit_code,
                reason=t.reason,
            )
            for t in node.tasks
        ],
        services=[
            ServiceLine(
                name=s.name, state=s.state.value, port=s.port, restarts=s.restarts, reason=s.reason
            )
            for s in node.services
        ],
        found=[
            f"{f.kind} (port {f.port}" + (")" if f.reachable else ", from that machine only)")
            for f in node.found
        ],
        commands=list(node.commands),
        recipes=list(node.recipes),
    )


async def wakers(nodes: NodeRegistry, asleep: Node) -> list[Node]:
    """Return the online machines of the same home network as one that sleeps."""
    home = asleep.hardware.broadcast
    return [
        n
        for n in await nodes.list()
        if n.health is NodeHealth.ONLINE and n.name != asleep.name
        if home is not None and n.hardware.broadcast == home
    ]


def mac_of(node: Node) -> str:
    """Return the MAC to wake a machine by; raises Conflict when it is not known."""
    if node.hardware.mac is None:
        raise Conflict(
            f"The MAC address of {node.name} is not known",
            hint="Its agent finds it when the machine has a network card of its own.",
        )
    return node.hardware.mac
