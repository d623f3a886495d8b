"""Turns the broker's figures into what the tools return."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from nebula.gpu.leases.records import Decided
from nebula.gpu.leases.rows import LeaseState, Rows
from nebula.gpu.plans import SwitchPlan
from nebula.gpu.reports import Switched, Unloaded
from nebula.gpu.snapshot import GpuReading, GpuSnapshot, NodeSnapshot
from nebula.services.map import ServiceMap
from nebula.services.sizes import gigabytes
from tools.gpu.queue import DecisionInfo, GpuQueue, LeaseInfo, Told, WaitingInfo
from tools.gpu.schemas import (
    Card,
    EvictedModel,
    Foreign,
    GpuServiceState,
    GpuStatus,
    Loaded,
    PlannedEviction,
    PlanReport,
    SwitchReport,
    UnloadReport,
)

T = TypeVar("T", bound=Told)


def marked(report: T, names: Iterable[str | None], services: ServiceMap) -> T:
    """Mark a report as text from outside when it tells a name that the operator did not write."""
    report.outside = any(name and name not in services.written for name in names)
    return report


def status_names(status: GpuStatus) -> Iterator[str | None]:
    """Yield every name that a status tells: machines, models, other programs."""
    for card in status.gpus:
        yield card.node
        yield from (each.model or each.service for each in card.loaded)
        if not card.simulated:
            yield from (program.name for program in card.foreign)
    yield from (service.name for service in status.services)
    yield from status.queue.names()


def queue_of(rows: Rows, decisions: Sequence[Decided], node: str | None) -> GpuQueue:
    """Return who uses the cards of a node, or of all, who waits, and what was decided."""

    def here(card: str | None) -> bool:
        return node is None or card is None or card.rpartition("/")[0] == node

    return GpuQueue(
        leases=[lease_of(v, rows.now) for v in rows.leases if here(v.card)],
        waiting=[
            WaitingInfo(
                label=w.need.label,
                owner=w.owner_name,
                priority_class=w.klass,
                seconds=round(rows.now - w.created, 1),
                because=w.because,
                job_id=w.job_id,
            )
            for w in rows.waiting
            if node in {None, w.node} or w.node is None
        ],
        decisions=[
            DecisionInfo(at=d.at, kind=d.kind, card=d.card, reason=d.reason, about=d.label)
            for d in decisions
            if here(d.card)
        ],
    )


def lease_of(lease: LeaseState, now: float) -> LeaseInfo:
    """Return a lease for people."""
    return LeaseInfo(
        id=lease.id,
        card=lease.card,
        service=lease.service,
        model=lease.model,
        what=lease.what,
        owner=lease.owner_name,
        priority_class=lease.klass,
        state=lease.state,
        should_yield=lease.should_yield,
        token=lease.token,
        vram_gb=gigabytes(lease.vram) if lease.resident is None else None,
        peak_gb=gigabytes(lease.peak),
        seconds=None if lease.started is None else round(max(0.0, now - lease.started), 1),
        job_id=lease.job_id,
    )


def status_of(
    snapshot: GpuSnapshot,
    services: ServiceMap,
    node: str | None,
    queue: GpuQueue | None = None,
) -> GpuStatus:
    """Return the status of one node, or of all."""
    nodes = [n for n in snapshot.nodes if node in {None, n.name}]
    return GpuStatus(
        gpus=[_card(n, gpu, services) for n in nodes for gpu in n.gpus],
        services=[
            GpuServiceState(
                name=s.name, node=n.name, up=s.up, reason=s.reason, simulated=s.simulated
            )
            for n in nodes
            for s in n.services
        ],
        notes=[f"{n.name}: {n.problem}" for n in nodes if n.problem],
        queue=queue or GpuQueue(),
    )


def _card(node: NodeSnapshot, gpu: GpuReading, services: ServiceMap) -> Card:
    return Card(
        node=node.name,
        index=gpu.index,
        name=gpu.name,
        simulated=gpu.simulated,
        vram_total_gb=gigabytes(gpu.vram_total),
        vram_used_gb=gigabytes(gpu.vram_used),
        vram_free_gb=gigabytes(gpu.vram_free),
        utilization=gpu.utilization,
        temperature_c=gpu.temperature,
        power_w=gpu.power,
        source=gpu.source,
        loaded=[
            Loaded(
                service=r.service,
                model=r.model,
                vram_gb=gigabytes(r.vram),
                busy=r.busy,
                pinned=services.pinned(r.target),
            )
            for r in node.residents
            if r.gpu == gpu.index
        ],
        foreign=[
            Foreign(pid=p.pid, name=p.name, vram_gb=gigabytes(p.vram))
            for p in gpu.processes
            if p.foreign
        ],
    )


def plan_of(chosen: SwitchPlan) -> PlanReport:
    """Return a plan as a report."""
    return PlanReport(
        service=chosen.target.service,
        model=chosen.target.model,
        node=chosen.node,
        card=chosen.card,
        simulated=chosen.simulated,
        fits=chosen.fits,
        already_loaded=chosen.already,
        needed_gb=gigabytes(chosen.needed),
        free_gb=gigabytes(chosen.free),
        free_after_gb=gigabytes(chosen.free_after),
        evicts=[
            PlannedEviction(
                service=e.resident.service,
                model=e.resident.model,
                frees_gb=gigabytes(e.frees),
                reload_seconds=round(e.reload_seconds, 1),
                why=e.why,
            )
            for e in chosen.evicts
        ],
        stays=[r.label for r in chosen.stays],
        waits_for=list(chosen.waits_for),
        explanation=chosen.explanation,
        hint=chosen.hint,
    )


def switch_of(done: Switched) -> SwitchReport:
    """Return what a switch did as a report."""
    return SwitchReport(
        service=done.plan.target.service,
        model=done.plan.target.model,
        node=done.plan.node,
        card=done.plan.card,
        simulated=done.plan.simulated,
        already_loaded=done.plan.already,
        evicted=[
            EvictedModel(
                service=e.eviction.resident.service,
                model=e.eviction.resident.model,
                freed_gb=gigabytes(e.eviction.frees),
                seconds=round(e.seconds, 2),
                why=e.eviction.why,
            )
            for e in done.evicted
        ],
        outcome=done.loaded,
        free_gb=gigabytes(done.free),
        load_seconds=round(done.load_seconds, 2),
        seconds=round(done.seconds, 2),
    )


def unload_of(done: Unloaded) -> UnloadReport:
    """Return what an unload did as a report."""
    return UnloadReport(
        unloaded=[t.model or t.service for t in done.targets],
        node=done.node,
        simulated=done.simulated,
        freed_gb=gigabytes(done.freed),
        free_gb=gigabytes(done.free),
        seconds=round(done.seconds, 2),
    )
