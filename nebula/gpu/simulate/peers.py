"""How others decide, to compare with: exclusive FIFO, first fit with LRU, hand-written groups."""

from collections.abc import Callable, Sequence

from nebula.gpu.policy.types import (
    Card,
    Decision,
    Evict,
    Key,
    Loaded,
    Option,
    Snapshot,
    Start,
    Waiting,
)
from nebula.gpu.simulate.trace import Trace
from nebula.gpu.simulate.world import Policy


def exclusive_fifo(snapshot: Snapshot) -> Sequence[Decision]:
    """Give each job a whole card, strictly in the order of asking."""
    found: list[Decision] = []
    taken = {w.card for w in snapshot.running}
    for request in _by_age(snapshot):
        if not request.options:
            continue  # it fits none of the cards
        free = [o for o in request.options if o.card not in taken]
        if not free:
            break
        own = [(o, _idle(snapshot, o, request.key)) for o in free]
        option, warm = next(
            ((o, w) for o, w in own if w is not None), (_smallest(snapshot, free), None)
        )
        taken.add(option.card)
        others = [i for i in snapshot.loaded if i.card == option.card and i is not warm]
        if warm is not None and not others:
            found.append(Start(request.id, option.card, warm.id, 0, "its turn"))
        elif not others:
            found.append(Start(request.id, option.card, None, option.vram or 0, "its turn"))
        found += [Evict(i.id, request.id, "whole card") for i in others if i.state == "loaded"]
    return found


def first_fit_lru(snapshot: Snapshot) -> Sequence[Decision]:
    """Start whatever fits, in the order of asking; unload what was unused longest."""
    found: list[Decision] = []
    free = {c.id: _free(snapshot, c) for c in snapshot.cards}
    gone: set[str] = set()
    for request in _by_age(snapshot):
        placed = _first_fit(snapshot, request, free, gone)
        found += placed
        gone |= {d.loaded for d in placed if isinstance(d, Evict)}
        gone |= {d.loaded for d in placed if isinstance(d, Start) and d.loaded}
    return found


def _first_fit(
    snapshot: Snapshot, request: Waiting, free: dict[str, int], gone: set[str]
) -> list[Decision]:
    for option in request.options:
        warm = _idle(snapshot, option, request.key)
        if warm is not None and warm.id not in gone:
            return [Start(request.id, option.card, warm.id, 0, "first fit")]
    for option in request.options:
        if _may_load(snapshot, option, request.key) and free[option.card] >= (option.vram or 0):
            free[option.card] -= option.vram or 0
            return [Start(request.id, option.card, None, option.vram or 0, "first fit")]
    for option in request.options:
        evicts = _least_recent(snapshot, option, request, free[option.card], gone)
        if evicts is not None:
            # What leaves is spoken for, or each request would unload something of its own.
            free[option.card] -= option.vram or 0
            return [Evict(e.id, request.id, "least recently used") for e in evicts]
    return []


def _least_recent(
    snapshot: Snapshot, option: Option, request: Waiting, free: int, gone: set[str]
) -> list[Loaded] | None:
    """Return what to unload, longest unused first; None when it is not enough."""
    here = [i for i in snapshot.loaded if i.card == option.card]
    if option.holds != "copies" and any(i.key == request.key for i in here):
        return None
    rivals = [i for i in here if option.holds == "one" and i.service == request.key[0]]
    if any(i.leases or i.id in gone for i in rivals):
        return None
    chosen = [i for i in rivals if i.state == "loaded"]
    have = free + sum(i.vram or 0 for i in chosen)
    have += sum(i.vram or 0 for i in here if i.state == "leaving")
    idle = [i for i in here if i.state == "loaded" and not i.leases and i.id not in gone]
    for item in sorted(idle, key=lambda i: (-i.idle_seconds, i.id)):
        if have >= (option.vram or 0):
            break
        if item not in chosen:
            chosen.append(item)
            have += item.vram or 0
    return chosen if have >= (option.vram or 0) else None


def groups(trace: Trace) -> Policy:
    """Return hand-written groups as llama-swap's: each model has its card and its group.

    One group of a card is loaded at a time; a job of another group waits until the present one
    is idle, then all of it is unloaded. The groups are written once, by the models' sizes.
    """
    home = _written_by_hand(trace)

    def decide(snapshot: Snapshot) -> Sequence[Decision]:
        found: list[Decision] = []
        by_card: dict[str, list[Waiting]] = {}
        for request in _by_age(snapshot):
            if request.key in home:
                by_card.setdefault(home[request.key][0], []).append(request)
        for card, requests in by_card.items():
            found += _serve_group(snapshot, card, requests, home)
        return found

    return decide


def _serve_group(
    snapshot: Snapshot, card: str, requests: Sequence[Waiting], home: dict[Key, tuple[str, int]]
) -> list[Decision]:
    here = [i for i in snapshot.loaded if i.card == card]
    groups = {home[i.key][1] for i in here}
    groups |= {home[w.key][1] for w in snapshot.running if w.card == card}
    found: list[Decision] = []
    used: set[Key] = {w.key for w in snapshot.running if w.card == card}
    wanted = home[requests[0].key][1]
    if groups - {wanted}:
        idle = [i for i in here if not i.leases and i.state == "loaded"]
        busy = any(w.card == card for w in snapshot.running)
        return [] if busy else [Evict(i.id, requests[0].id, "another group") for i in idle]
    for request in requests:
        if home[request.key][1] != wanted:
            break  # in turn: what comes after it waits for the swap
        option = next(o for o in request.options if o.card == card)
        warm = next((i for i in here if i.key == request.key and i.state == "loaded"), None)
        if request.key in used or any(i.state == "leaving" for i in here):
            continue
        used.add(request.key)
        vram = 0 if warm else option.vram or 0
        found.append(Start(request.id, card, warm.id if warm else None, vram, "its group"))
    return found


def _written_by_hand(trace: Trace) -> dict[Key, tuple[str, int]]:
    """Give each model a card, the least busy that it fits, and a group that fits the card."""
    work: dict[Key, float] = {}
    size: dict[Key, int] = {}
    for job in trace.jobs:
        work[job.key] = work.get(job.key, 0.0) + job.run_seconds
        size[job.key] = max(size.get(job.key, 0), job.vram)
    busy = {c.id: 0.0 for c in trace.cards}
    room = {c.id: c.capacity for c in trace.cards}
    filled: dict[str, list[int]] = {c.id: [] for c in trace.cards}
    home: dict[Key, tuple[str, int]] = {}
    for key in sorted(work, key=lambda k: (-size[k], str(k))):
        fitting = [c.id for c in trace.cards if c.capacity >= size[key]]
        if not fitting:
            continue
        card = min(fitting, key=lambda c: (busy[c] / room[c], c))
        busy[card] += work[key] * size[key]
        groups = filled[card]
        place = next((n for n, f in enumerate(groups) if f + size[key] <= room[card]), len(groups))
        if place == len(groups):
            groups.append(0)
        groups[place] += size[key]
        home[key] = (card, place)
    return home


def _by_age(snapshot: Snapshot) -> list[Waiting]:
    return sorted(snapshot.waiting, key=lambda r: (r.created, r.id))


def _idle(snapshot: Snapshot, option: Option, key: Key) -> Loaded | None:
    """Return the model on that card when it has a place free."""
    found = (
        i
        for i in snapshot.loaded
        if i.card == option.card and i.key == key and i.state == "loaded" and i.leases < i.parallel
    )
    return next(found, None)


def _may_load(snapshot: Snapshot, option: Option, key: Key) -> bool:
    """Say whether the service could load it beside what it holds there."""
    here = [i for i in snapshot.loaded if i.card == option.card]
    if option.holds == "one":
        return not any(i.service == key[0] for i in here)
    return option.holds == "copies" or not any(i.key == key for i in here)


def _smallest(snapshot: Snapshot, options: Sequence[Option]) -> Option:
    size = {c.id: c.capacity or 0 for c in snapshot.cards}
    return min(options, key=lambda o: (size[o.card], o.card))


def _free(snapshot: Snapshot, card: Card) -> int:
    used = sum(i.vram or 0 for i in snapshot.loaded if i.card == card.id)
    used += sum(w.vram or 0 for w in snapshot.running if w.card == card.id and not w.loaded)
    return (card.capacity or 0) - used


PEERS: dict[str, Callable[[Trace], Policy]] = {
    "exclusive FIFO": lambda _: exclusive_fifo,
    "first fit + LRU": lambda _: first_fit_lru,
    "hand-written groups": groups,
}
