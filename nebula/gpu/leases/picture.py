"""Draws the policy's snapshot from the ledger's rows, the service map and the footprints."""

from collections.abc import Callable, Iterable
from typing import Literal

from nebula.gpu.footprints.book import Footprints
from nebula.gpu.leases.need import GpuNeed
from nebula.gpu.leases.placing import card_id
from nebula.gpu.leases.rows import CardState, LeaseState, RequestState, ResidentState, Rows
from nebula.gpu.policy.types import (
    Card,
    Key,
    Loaded,
    Option,
    PriorityClass,
    Running,
    Snapshot,
    Waiting,
)
from nebula.services.map import ServiceMap, ServiceSpec, Target

# A model that nobody ever asked for through us: somebody loaded it, so it may be wanted again.
_UNKNOWN_NEXT_USE = 0.5
_SHARED = 8
"""Requests that a service answers side by side (Ollama queues by itself what is above its own)."""
_RUN_SECONDS = {
    PriorityClass.CHAT: 15.0,
    PriorityClass.IMAGE: 30.0,
    PriorityClass.BATCH: 120.0,
    PriorityClass.TRAINING: 3600.0,
}
"""How long work takes that nobody measured."""


class Pictures:
    """Knows sizes and times of models: measured where that was done, else the map's."""

    def __init__(self, services: Callable[[], ServiceMap], footprints: Footprints) -> None:
        """Take the map in force, and the measurements."""
        self._map = services
        self.footprints = footprints

    def size(self, target: Target, bucket: str = "") -> int | None:
        """Return the bytes that a model needs: measured, else its budget, else unknown."""
        measured = self.footprints.estimate(target, bucket).vram
        return measured if measured is not None else self._map().footprint(target).vram

    def load_seconds(self, target: Target) -> float:
        """Return how long a model takes to load: measured, else by the map."""
        measured = self.footprints.estimate(target).load_seconds
        return measured if measured is not None else self._map().footprint(target).load_seconds

    def run_seconds(self, need: GpuNeed) -> float:
        """Return how long work takes: measured, else as it was said, else as its class does."""
        if need.target is not None:
            measured = self.footprints.estimate(need.target, need.bucket).run_seconds
            if measured is not None:
                return measured
        return need.run_seconds if need.run_seconds is not None else _RUN_SECONDS[need.klass]

    def needed(self, need: GpuNeed) -> int | None:
        """Return the bytes that work needs at its peak."""
        if need.target is None:
            return need.vram
        measured = self.footprints.estimate(need.target, need.bucket).vram
        if measured is not None or need.vram is not None:
            return measured if measured is not None else need.vram
        return self._map().footprint(need.target).vram

    def parallel(self, service: str | None) -> int:
        """Return how many may use a model of a service at the same time."""
        spec = self._map().service(service) if service else None
        return _SHARED if spec is not None and spec.holds_many else 1

    def one(self, service: str | None) -> bool:
        """Say whether a service keeps one model at a time."""
        spec = self._map().service(service) if service else None
        return spec is not None and not spec.holds_many

    def options(self, need: GpuNeed, cards: Iterable[CardState]) -> tuple[Option, ...]:
        """Return where work could run and what it takes there."""
        spec = self._map().service(need.service) if need.service else None
        if need.service is not None and spec is None:
            return ()
        found = [c for c in cards if need.node in {None, c.node} and _serves(spec, c)]
        load = self.load_seconds(need.target) if need.target else 0.0
        holds: Literal["one", "models", "copies"] = "copies"
        if need.service is not None:
            holds = "one" if self.one(need.service) else "models"
        return tuple(
            Option(
                card=card.id,
                vram=self.needed(need),
                load_seconds=load,
                run_seconds=self.run_seconds(need),
                parallel=self.parallel(need.service),
                holds=holds,
                stays=need.service is not None,
            )
            for card in found
        )

    def snapshot(self, rows: Rows, extra: Iterable[Waiting] = ()) -> Snapshot:
        """Return what the policy decides over; `extra` are wishes that no row holds."""
        ids = {r.id for r in rows.residents}
        return Snapshot(
            now=rows.now,
            cards=tuple(_card(c) for c in rows.cards),
            loaded=tuple(self._loaded(r, rows) for r in rows.residents),
            running=tuple(self._running(lease, ids) for lease in rows.leases),
            waiting=(*(self.waiting(w, rows.cards) for w in rows.waiting), *extra),
            usage=rows.usage,
        )

    def waiting(self, wish: RequestState, cards: Iterable[CardState]) -> Waiting:
        """Return a wish as the policy sees it."""
        need = wish.need
        return Waiting(
            id=wish.id,
            klass=need.klass,
            owner=wish.owner_id,
            created=wish.created,
            key=key_of(need.service, need.model, need.what),
            options=self.options(need, cards),
            yields=need.yields,
            priority=wish.priority,
        )

    def _loaded(self, resident: ResidentState, rows: Rows) -> Loaded:
        leases = rows.leases_on(resident.id)
        # Work that is not ours keeps a model as well as a lease of ours does.
        others = 1 if resident.busy and not leases else 0
        used = resident.last_used if resident.last_used is not None else resident.changed
        chance = self.footprints.next_use(resident.target)
        return Loaded(
            id=resident.id,
            card=resident.card,
            service=resident.service,
            model=resident.model,
            vram=resident.vram,
            state=_state(resident.state),
            leases=len(leases) + others,
            pinned=self._map().pinned(resident.target),
            idle_seconds=max(0.0, rows.now - used),
            reload_seconds=self.load_seconds(resident.target),
            next_use=_UNKNOWN_NEXT_USE if chance is None else chance,
            parallel=self.parallel(resident.service),
            since=resident.changed,
        )

    def _running(self, lease: LeaseState, residents: set[str]) -> Running:
        return Running(
            id=lease.id,
            card=lease.card,
            klass=PriorityClass[lease.klass.upper()],
            owner=lease.owner_id,
            key=key_of(lease.service, lease.model, lease.what),
            vram=lease.vram,
            started=lease.started if lease.started is not None else lease.created,
            expected_seconds=lease.expected_seconds,
            yields=lease.yields and lease.state == "active",
            yielding=lease.should_yield,
            loaded=lease.resident if lease.resident in residents else None,
        )


def key_of(service: str | None, model: str | None, what: str) -> Key:
    """Return what must be loaded; bare work shares nothing with other work."""
    return (service, model) if service is not None else (what or "GPU work", None)


def _serves(spec: ServiceSpec | None, card: CardState) -> bool:
    return spec is None or card.id == card_id(spec.node, spec.gpu)


def _card(card: CardState) -> Card:
    return Card(
        id=card.id,
        node=card.node,
        capacity=max(0, card.capacity - card.kept),
        healthy=card.healthy,
        draining=card.draining,
        utilization=card.utilization,
        foreign=card.foreign_used,
    )


def _state(state: str) -> Literal["loaded", "loading", "leaving"]:
    return "loading" if state == "loading" else "leaving" if state == "leaving" else "loaded"
