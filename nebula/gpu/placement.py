"""Says what serving a model would take of its card: the policy's decision about it, explained.

Pure: figures in, a plan out. Figures are what services and NVML report; what nobody reports is
stood in for by `sizes`, which knows measurements of earlier uses and the map's budgets.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from nebula.gpu.plans import Eviction, SwitchPlan, SwitchRequest
from nebula.gpu.policy.decide import decide
from nebula.gpu.policy.types import (
    Card,
    Decision,
    Evict,
    Loaded,
    Option,
    PriorityClass,
    Snapshot,
    Waiting,
)
from nebula.gpu.snapshot import GpuProcess, GpuReading, GpuSnapshot, NodeSnapshot, Resident
from nebula.services.map import ServiceMap, Target
from nebula.services.sizes import spoken

# After this idle time the chance that a model is wanted next is taken to be halved.
_HALF_LIFE_SECONDS = 600.0

Sizes = Callable[[Target], int | None]
"""Says what a model needs, in bytes; None when nobody knows."""


def plan(
    snapshot: GpuSnapshot,
    request: SwitchRequest,
    services: ServiceMap,
    sizes: Sizes | None = None,
) -> SwitchPlan:
    """Choose the card and the evictions for a request; the same input gives the same plan.

    What goes is the policy's choice, as for every other request. Work that runs now is not
    interrupted as long as the policy finds a way without that. Programs that are not ours, pinned
    models and models of unknown size are never evicted.
    """
    known = sizes or (lambda target: services.footprint(target).vram)
    plans = [
        _plan_on(snapshot, target, request, services, known)
        for target in request.targets
        if _wanted_node(services, target, request.node)
    ]
    if not plans:
        target = request.targets[0]
        spec = services.service(target.service)
        where = request.node or (spec.node if spec else "")
        return _refused(target, where, f"{target} is not on the node {where!r}")
    order = {id(p): i for i, p in enumerate(plans)}
    return min(plans, key=lambda p: (_preference(p, snapshot), order[id(p)]))


def _wanted_node(services: ServiceMap, target: Target, node: str | None) -> bool:
    spec = services.service(target.service)
    return spec is not None and node in {None, spec.node}


def _preference(p: SwitchPlan, snapshot: GpuSnapshot) -> tuple[bool, bool, bool, bool, int, float]:
    """Order plans: a service that runs, a real one, one that fits, then the cheapest."""
    node = snapshot.node(p.node)
    state = node.service(p.target.service) if node else None
    down = state is None or state.up is False
    cost = sum(e.reload_seconds for e in p.evicts)
    return down, p.simulated, not p.fits, not p.already, len(p.waits_for), cost


def _plan_on(
    snapshot: GpuSnapshot,
    target: Target,
    request: SwitchRequest,
    services: ServiceMap,
    sizes: Sizes,
) -> SwitchPlan:
    """Plan one target on the card its service uses."""
    spec = services.service(target.service)
    node = snapshot.node(spec.node) if spec else None
    if spec is None or node is None:
        return _refused(target, spec.node if spec else "", f"Nothing is known about {target}")
    target = _default_model(target, node, services)
    state = node.service(target.service)
    if state is not None and state.up is False:
        return _refused(
            target,
            node.name,
            f"{target.service} does not work: {state.reason}",
            hint=f"Start {target.service}, then ask again.",
            simulated=node.simulated,
        )
    card = node.gpu(spec.gpu)
    if card is None and not node.gpus and spec.kind == "ollama" and not node.simulated:
        said = f"{node.name} has no graphics card: {target} runs on its processor"
        return SwitchPlan(target=target, node=node.name, explanation=said)
    if card is None:
        return _refused(
            target,
            node.name,
            f"Nothing is known about the card {spec.gpu} of {node.name}: "
            + (node.problem or "no card was found"),
            hint="State the card under `gpus:` in service-map.yml.",
            simulated=node.simulated,
        )
    return _plan_card(_Card(snapshot.at, node, card, services, sizes), target, evict=request.evict)


def _default_model(target: Target, node: NodeSnapshot, services: ServiceMap) -> Target:
    """Name the model meant by a service that holds many: a loaded one, else its first."""
    spec = services.service(target.service)
    if spec is None or not spec.holds_many or target.model is not None:
        return target
    loaded = [r.target for r in node.residents if r.service == spec.name]
    loaded = [t for t in loaded if not services.pinned(t)]
    first = spec.models[0].name if spec.models else None
    return loaded[0] if loaded else Target(service=spec.name, model=first)


class _Card:
    """One card with its residents and every size known or budgeted."""

    def __init__(
        self,
        at: datetime,
        node: NodeSnapshot,
        gpu: GpuReading,
        services: ServiceMap,
        needs: Sizes,
    ) -> None:
        self.at = at
        self.needs = needs
        self.node = node
        self.gpu = gpu
        self.services = services
        spec = services.node(node.name)
        self.reserve = spec.reserve if spec else 0
        self.residents = tuple(
            sorted(
                (r for r in node.residents if r.gpu == gpu.index),
                key=lambda r: (r.service, r.model or ""),
            )
        )
        self.total = gpu.vram_total
        self.free = self._free()

    def size(self, resident: Resident) -> int | None:
        """Return what a model takes: measured, else its budget."""
        if resident.vram is not None:
            return resident.vram
        return self.needs(resident.target)

    def _free(self) -> int | None:
        if self.gpu.vram_free is not None or self.total is None:
            return self.gpu.vram_free
        sizes = [self.size(r) for r in self.residents]
        if None in sizes:
            return None
        return max(0, self.total - sum(s for s in sizes if s is not None))

    def next_use(self, resident: Resident) -> float:
        """Return the chance that a model is wanted next, by how long nobody used it."""
        if resident.last_used is None:
            return 1.0
        idle = max(0.0, (self.at - resident.last_used).total_seconds())
        return float(0.5 ** (idle / _HALF_LIFE_SECONDS))

    def drawn(self, *, waited: bool) -> tuple[Card, tuple[Loaded, ...]]:
        """Return the card as the policy sees it; `waited` = as it is once running work is over."""
        key = f"{self.node.name}/{self.gpu.index}"
        usable = max(0, (self.total or 0) - self.reserve)
        sizes = [self.size(r) for r in self.residents]
        claimed = sum(s for s in sizes if s is not None)
        named = sum(p.vram or 0 for p in self.foreign())
        used = None if self.total is None or self.free is None else self.total - self.free
        others = None if used is None else max(named, used - claimed, 0)
        # A service may claim more than is really used: then its claims are worth less.
        room = claimed if used is None or others is None else max(0, used - others)
        loaded = []
        for number, (resident, size) in enumerate(zip(self.residents, sizes, strict=True)):
            held = None if size is None else min(size, room)
            room -= held or 0
            loaded.append(self._drawn(number, resident, held, key, waited=waited))
        capacity = None if self.free is None else usable
        # One unknown size would make the whole card unknown; its memory counts as used all the same.
        known = tuple(m for m in loaded if m.vram is not None)
        return Card(id=key, node=self.node.name, capacity=capacity, foreign=others), known

    def _drawn(
        self, number: int, resident: Resident, vram: int | None, card: str, *, waited: bool
    ) -> Loaded:
        return Loaded(
            id=str(number),
            card=card,
            service=resident.service,
            model=resident.model,
            vram=vram,
            leases=1 if resident.busy and not waited else 0,
            pinned=self.services.pinned(resident.target) or not vram,
            reload_seconds=self.services.footprint(resident.target).load_seconds,
            next_use=self.next_use(resident),
        )

    def frees(self, group: Sequence[Resident]) -> int:
        """Return what unloading a group frees.

        Budgets and services may claim more than is really used: what programs that are not ours
        hold, and the card's own total, bound it.
        """
        claimed = sum(self.size(r) or 0 for r in group)
        if self.total is None or self.free is None:
            return claimed
        others = sum(p.vram or 0 for p in self.foreign())
        return max(0, min(claimed, self.total - others - self.free))

    def foreign(self) -> tuple[GpuProcess, ...]:
        """Return the programs on the card that are not ours, largest first."""
        found = [p for p in self.gpu.processes if p.foreign]
        return tuple(sorted(found, key=lambda p: (-(p.vram or 0), p.pid)))

    def own(self, target: Target) -> Resident | None:
        """Return what the target holds already."""
        spec = self.services.service(target.service)
        many = spec is not None and spec.holds_many
        return next(
            (
                r
                for r in self.residents
                if r.service == target.service and (not many or r.model == target.model)
            ),
            None,
        )


def _plan_card(card: _Card, target: Target, *, evict: bool) -> SwitchPlan:
    """Plan a target on one card whose service runs."""
    base = SwitchPlan(
        target=target,
        node=card.node.name,
        gpu=card.gpu.index,
        card=card.gpu.name,
        reserve=card.reserve,
        free=card.free,
        stays=card.residents,
        simulated=card.node.simulated,
    )
    own = card.own(target)
    wanted = card.needs(target)
    if own is not None and _serves(card, own, target):
        said = f"{target} is loaded already on {_place(base)}"
        return base.model_copy(
            update={"needed": 0, "free_after": card.free, "already": True, "explanation": said}
        )
    if wanted is None:
        return _refuse(
            base,
            f"How much VRAM {target} needs is not known",
            f"Give {target} a budget (`vram:`) in service-map.yml.",
        )
    # What the same service holds now is taken over by its next model, not added to it.
    taken_over = (card.size(own) or 0) if own is not None else 0
    needed = max(0, wanted - taken_over)
    return _fit(card, base.model_copy(update={"needed": needed}), own, evict=evict)


def _serves(card: _Card, own: Resident, target: Target) -> bool:
    """Say whether what is loaded is what was asked for."""
    spec = card.services.service(target.service)
    if spec is not None and spec.holds_many:
        return own.vram != 0  # 0 bytes on the card: it runs on the CPU
    if own.model != target.model:
        return False
    budget = card.needs(target)
    size = card.size(own)
    return size is not None and budget is not None and size >= budget


def _fit(card: _Card, base: SwitchPlan, own: Resident | None, *, evict: bool) -> SwitchPlan:
    """Find the evictions that make room, or say what is missing."""
    if card.free is None:
        return _refuse(
            base,
            f"How much VRAM is free on {_place(base)} is not known",
            "State the card's size under `gpus:` in service-map.yml.",
        )
    needed = base.needed or 0
    missing = needed + base.reserve - card.free
    if missing <= 0:
        said = f"{base.target} needs {spoken(needed)}; {spoken(card.free)} are free"
        return base.model_copy(update={"free_after": card.free, "explanation": said})
    held = card.size(own) if own is not None else 0
    going = [
        r
        for r in card.residents
        if r != own and (card.size(r) or 0) > 0 and not card.services.pinned(r.target)
    ]
    chosen = _decided(card, base.target, needed + (held or 0), own)
    if chosen is None:
        return _too_big(card, base, going, missing)
    if not evict:
        names = _and([r.label for r in chosen])
        return _refuse(
            base,
            f"{base.target} needs {spoken(needed)} on {_place(base)}, "
            f"and {spoken(card.free)} are free, {spoken(base.reserve)} of them in reserve",
            f"Say 'switch to {base.target.model or base.target.service}' to unload {names} first.",
        )
    return _with_evictions(card, base, chosen)


def _decided(
    card: _Card, target: Target, need: int, own: Resident | None
) -> Sequence[Resident] | None:
    """Ask the policy what must go; first with running work left alone, then once that is over."""
    spec = card.services.service(target.service)
    for waited in (False, True):
        drawn, loaded = card.drawn(waited=waited)
        option = Option(
            card=drawn.id,
            vram=need,
            load_seconds=card.services.footprint(target).load_seconds,
            run_seconds=0.0,
            holds="models" if spec is not None and spec.holds_many else "one",
        )
        wish = Waiting(
            id="switch",
            klass=PriorityClass.CHAT,
            owner="",
            created=0.0,
            key=(target.service, target.model),
            options=(option,),
        )
        found = decide(Snapshot(now=0.0, cards=(drawn,), loaded=loaded, waiting=(wish,)))
        if (going := _evicted(found)) is not None:
            # What the same service holds is taken over by its next model.
            return [r for each in going if (r := card.residents[int(each)]) != own]
    return None


def _evicted(decisions: Sequence[Decision]) -> list[str] | None:
    """Return what must go for the one request there is; None when it has to wait."""
    going = [d.loaded for d in decisions if isinstance(d, Evict)]
    return going or None


def _with_evictions(card: _Card, base: SwitchPlan, chosen: Sequence[Resident]) -> SwitchPlan:
    after = (card.free or 0) + card.frees(chosen)
    evicts = tuple(_eviction(card, base, r) for r in chosen)
    names = _and([r.label for r in chosen])
    working = tuple(dict.fromkeys(r.service for r in chosen if r.busy))
    said = (
        f"{base.target} needs {spoken(base.needed)}, {spoken(card.free)} are free on "
        f"{_place(base)}: unload {names}"
    )
    if working:
        said += f", once {_and(list(working))} has finished its present work"
    return base.model_copy(
        update={
            "evicts": evicts,
            "stays": tuple(r for r in card.residents if r not in chosen),
            "waits_for": working,
            "free_after": after,
            "explanation": said,
        }
    )


def _eviction(card: _Card, base: SwitchPlan, resident: Resident) -> Eviction:
    seconds = card.services.footprint(resident.target).load_seconds
    size = card.size(resident) or 0
    measured = "" if resident.vram is not None else "about "
    why = (
        f"{resident.label} holds {measured}{spoken(size)}: {base.target} needs "
        f"{spoken(base.needed)}, {spoken(card.free)} are free; "
        f"bringing it back costs about {seconds:.0f} s"
    )
    return Eviction(resident=resident, frees=size, reload_seconds=seconds, why=why)


def _too_big(card: _Card, base: SwitchPlan, going: Sequence[Resident], missing: int) -> SwitchPlan:
    """Say what would be needed, and who holds the rest."""
    possible = (card.free or 0) + card.frees(going)
    said = (
        f"{base.target} needs {spoken(base.needed)} and {spoken(base.reserve)} in reserve; "
        f"{_place(base)} has {spoken(card.total)}, and at most {spoken(possible)} of it "
        "can be made free"
    )
    foreign = [f"{p.name or p.pid} ({spoken(p.vram)})" for p in card.foreign()[:3]]
    if foreign:
        said += f". Other programs on it, which are left alone: {_and(foreign)}"
    pinned = [r.label for r in card.residents if card.services.pinned(r.target)]
    if pinned:
        said += f". Pinned in the service map: {_and(pinned)}"
    short = missing - card.frees(going)
    return _refuse(
        base,
        said,
        f"{spoken(short)} more would be needed: close programs, or choose a smaller model.",
    )


def _refuse(base: SwitchPlan, why: str, hint: str) -> SwitchPlan:
    return base.model_copy(update={"refusal": why, "hint": hint, "explanation": why})


def _refused(
    target: Target, node: str, why: str, *, hint: str = "", simulated: bool = False
) -> SwitchPlan:
    return SwitchPlan(
        target=target, node=node, refusal=why, hint=hint, explanation=why, simulated=simulated
    )


def _place(base: SwitchPlan) -> str:
    """Name the card; a simulated one says so."""
    card = base.card or f"card {base.gpu}"
    named = f"{card} of {base.node}"
    return named if not base.simulated or "simulated" in named.lower() else f"{named} (simulated)"


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
