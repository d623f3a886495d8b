"""The working copy of a snapshot in one round: what is free on every card, now and later."""

from bisect import insort
from collections import defaultdict
from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING

from nebula.gpu.policy.rules import Rules
from nebula.gpu.policy.types import Card, Key, Loaded, Running, Snapshot, Waiting

if TYPE_CHECKING:
    from nebula.gpu.policy.fit import Room

# What should be done by now is expected in a moment.
_SOON = 0.001


class Holder:
    """A loaded model in this round: who uses it and until when."""

    __slots__ = ("ends", "going", "item", "price", "ready", "vram")

    def __init__(self, item: Loaded, ends: list[float], ready: float, price: float) -> None:
        self.item = item
        self.ends = sorted(ends)
        """When each of its uses ends; those that were decided in this round included."""
        self.ready = ready
        """When it is loaded."""
        self.price = price
        """What unloading costs: reload seconds × the chance of the next use."""
        self.vram = item.vram
        self.going = item.state == "leaving"

    @property
    def idle_at(self) -> float:
        """Return when it could be unloaded, as far as is known."""
        return self.ends[-1] if self.ends else self.ready

    @property
    def slot_at(self) -> float:
        """Return when one more may use it."""
        if len(self.ends) < self.item.parallel:
            return self.ready
        return max(self.ready, self.ends[-self.item.parallel])

    def gone_at(self, now: float, rules: Rules) -> float:
        """Return when it has left the card."""
        since = self.item.since if self.item.state == "leaving" else None
        return max(now + _SOON, (now if since is None else since) + rules.leave_seconds)

    def use(self, until: float) -> None:
        """Note one more use, or the next one after those that are noted."""
        insort(self.ends, until)

    def evictable(self, now: float) -> bool:
        """Say whether it may be unloaded at this moment."""
        return not (self.going or self.item.pinned or self.ends) and (
            self.item.state == "loaded" and self.vram is not None and self.ready <= now
        )


class Reservation:
    """The place that the first blocked request of a card gets, which nothing may delay."""

    __slots__ = ("at", "holds", "need", "request")

    def __init__(self, request: Waiting, at: float, need: int, holds: str) -> None:
        self.request = request
        self.holds = holds
        self.at = at
        """When so much memory must be free, or idle and ready to be unloaded."""
        self.need = need


class Place:
    """One card in this round."""

    __slots__ = (
        "card",
        "events",
        "free",
        "holders",
        "loose",
        "now",
        "reservation",
        "rooms",
        "rules",
        "why",
    )

    def __init__(self, card: Card, now: float, rules: Rules) -> None:
        self.card = card
        self.now = now
        self.rules = rules
        self.holders: list[Holder] = []
        self.loose: list[tuple[float, int | None, Running]] = []
        """Work without a loaded model: (expected end, bytes, work)."""
        self.free: int | None = None
        self.reservation: Reservation | None = None
        self.why = _unusable(card)
        self.rooms: dict[tuple[object, ...], tuple[Room, ...]] = {}
        """What `fit` worked out for this card as it stands."""
        self.events: list[tuple[float, int, Holder | None]] | None = None

    def count(self) -> None:
        """Work out what is free; one unknown size makes all of it unknown."""
        sizes = [h.vram for h in self.holders] + [vram for _, vram, _ in self.loose]
        known = [s for s in sizes if s is not None]
        if len(known) < len(sizes) or self.card.capacity is None or self.card.foreign is None:
            self.free = None
        else:
            self.free = self.card.capacity - self.card.foreign - sum(known)

    @property
    def ceiling(self) -> int | None:
        """Return what could be free at best: everything but foreign memory and pinned models."""
        if self.free is None or self.card.capacity is None:
            return None
        pinned = sum(h.vram or 0 for h in self.holders if h.item.pinned)
        return self.card.capacity - (self.card.foreign or 0) - pinned

    @property
    def incoming(self) -> int:
        """Return how many bytes are being freed at this moment."""
        return sum(h.vram or 0 for h in self.holders if h.going)

    def timeline(self) -> list[tuple[float, int, Holder | None]]:
        """Return when how many bytes come free or could be freed, earliest first."""
        if self.events is None:
            found: list[tuple[float, int, Holder | None]] = [
                (end, vram, None) for end, vram, _ in self.loose if vram is not None
            ]
            for holder in self.holders:
                if holder.vram is None or (holder.item.pinned and not holder.going):
                    continue
                at = holder.idle_at
                if holder.going:
                    # Who counts the unloading of what is idle must not count it twice for this.
                    at = holder.gone_at(self.now, self.rules) - self.rules.leave_seconds
                found.append((at, holder.vram, holder))
            self.events = sorted(found, key=lambda event: event[:2])
        return self.events

    def available(self, at: float) -> int:
        """Return how many bytes could be free then."""
        return (self.free or 0) + sum(b for when, b, _ in self.timeline() if when <= at)

    def earliest(self, need: int, keep: Holder | None = None) -> float:
        """Return when so many bytes could be free, with one model left where it is."""
        found = self.free
        if found is None:
            return inf
        if found >= need:
            return self.now
        for at, size, holder in self.timeline():
            if holder is None or holder is not keep:
                found += size
                if found >= need:
                    return max(at, self.now)
        return inf

    def gone_for(self, need: int, rivals: Iterable[Holder]) -> float:
        """Return when enough of what is being unloaded is gone, and all of the rivals.

        What leaves for somebody behind puts off nobody.
        """
        found, at = self.free or 0, self.now
        leaving = sorted(
            (h.gone_at(self.now, self.rules), h.vram or 0) for h in self.holders if h.going
        )
        for gone, size in leaving:
            if found >= need:
                break
            found, at = found + size, gone
        return max([at, *(h.gone_at(self.now, self.rules) for h in rivals if h.going)])

    def take(self, need: int) -> None:
        """Note that so many bytes are spoken for.

        What is promised of memory that is only being freed makes `free` negative until it is.
        """
        if self.free is not None:
            self.free -= need
        self.changed()

    def same(self, key: Key) -> list[Holder]:
        """Return where a model is loaded, or being loaded."""
        return [h for h in self.holders if h.item.key == key and not h.going]

    def changed(self) -> None:
        """Forget what was worked out."""
        self.events = None
        self.rooms.clear()


def _unusable(card: Card) -> str:
    if not card.healthy:
        return f"{card.id} does not answer"
    if card.draining:
        return f"{card.id} is being emptied"
    return ""


class Board:
    """Every card in this round, and what is wanted."""

    def __init__(self, snapshot: Snapshot, rules: Rules) -> None:
        self.now = snapshot.now
        self.rules = rules
        self.wanted: dict[Key, int] = defaultdict(int)
        for request in snapshot.waiting:
            self.wanted[request.key] += 1
        self.places = {c.id: Place(c, self.now, rules) for c in snapshot.cards}
        self.running = snapshot.running
        self.asked: set[str] = set()
        """Work that was asked to yield in this round."""
        self._hold(snapshot.loaded)
        for place in self.places.values():
            place.count()

    def copies(self, key: Key) -> tuple[int, int]:
        """Return how many places of a model are in use, and how many wait for work."""
        busy = idle = 0
        for place in self.places.values():
            if place.why:
                continue
            for holder in place.same(key):
                used = min(len(holder.ends), holder.item.parallel)
                busy += used
                idle += holder.item.parallel - used
            busy += sum(work.key == key for _, _, work in place.loose)
        return busy, idle

    def _hold(self, loaded: Iterable[Loaded]) -> None:
        uses: dict[str, list[float]] = defaultdict(list)
        ids = {each.id for each in loaded}
        for work in self.running:
            end = self.expected_end(work)
            if work.loaded is not None and work.loaded in ids:
                uses[work.loaded].append(end)
            elif work.card in self.places:
                self.places[work.card].loose.append((end, work.vram, work))
        for item in loaded:
            if item.card in self.places:
                self.places[item.card].holders.append(self._holder(item, uses[item.id]))

    def _holder(self, item: Loaded, ends: list[float]) -> Holder:
        unnamed = item.leases - len(ends)
        if unnamed > 0:
            ends = [*ends, *[self.now + self.rules.unknown_seconds] * unnamed]
        begun = self.now if item.since is None else item.since
        ready = self.now if item.state == "loaded" else begun + item.reload_seconds
        ready = max(self.now if item.state == "loaded" else self.now + _SOON, ready)
        chance = 1.0 if self.wanted[item.key] else item.next_use
        return Holder(item, ends, ready, item.reload_seconds * chance)

    def expected_end(self, work: Running) -> float:
        """Return when running work is expected to end; late work needs a little more."""
        if work.yielding:
            return self.now + self.rules.yield_seconds
        seconds = self.rules.unknown_seconds
        if work.expected_seconds is not None:
            seconds = work.expected_seconds
        late = self.now + max(1.0, seconds * self.rules.overrun)
        return work.started + seconds if work.started + seconds > self.now else late
