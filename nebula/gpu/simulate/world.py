"""A small world in virtual time: applies a policy's decisions and checks each of them."""

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

from nebula.gpu.policy.types import (
    Card,
    Decision,
    Evict,
    Loaded,
    Option,
    Running,
    Snapshot,
    Start,
    Waiting,
    Yield,
)
from nebula.gpu.simulate.history import History, Outcome, Stretch
from nebula.gpu.simulate.trace import Trace, TraceJob

Policy = Callable[[Snapshot], Sequence[Decision]]

# Half of what an owner used is forgotten after this long; the live scheduler counts the same way.
USAGE_HALF_LIFE = 3600.0


@dataclass(frozen=True)
class Timing:
    """How long the world takes for what the trace does not say."""

    leave_seconds: float = 0.5
    yield_seconds: float = 10.0
    rounds: int = 20
    """How often a policy is asked again at one moment while it starts something."""


class World:
    """The cards, what is loaded, what runs and what waits, at `now`."""

    def __init__(self, trace: Trace, timing: Timing = Timing()) -> None:
        self.now = 0.0
        self.timing = timing
        self.cards = tuple(Card(c.id, c.node, c.capacity) for c in trace.cards)
        self.loaded: dict[str, Loaded] = {}
        self.running: dict[str, Running] = {}
        self.waiting: dict[str, Waiting] = {}
        self.history = History(trace, {j.id: Outcome(j) for j in trace.jobs})
        self._usage: dict[str, tuple[float, float]] = {}
        self._idle_since: dict[str, float] = {}
        self._stints: dict[str, tuple[float, float]] = {}
        """When the present run of a job is loaded, and when it ends by itself."""
        self._numbers = count(1)
        self._events: list[tuple[float, int, str, str]] = []
        for job in trace.jobs:
            self._at(job.created, "arrives", job.id)

    def run(self, policy: Policy) -> History:
        """Play the trace to its end and return what happened."""
        while self._events:
            self.now = self._events[0][0]
            while self._events and self._events[0][0] <= self.now:
                _, _, kind, name = heapq.heappop(self._events)
                getattr(self, f"_{kind}")(name)
            self._ask(policy)
        return self.history

    def _ask(self, policy: Policy) -> None:
        for _ in range(self.timing.rounds):
            if not self.waiting:
                return
            self.history.rounds += 1
            if not self._apply(policy(self.snapshot())):
                return

    def snapshot(self) -> Snapshot:
        """Return what a policy sees."""
        loaded = tuple(
            item
            if item.leases
            else replace(item, idle_seconds=self.now - self._idle_since.get(item.id, self.now))
            for item in self.loaded.values()
        )
        return Snapshot(
            self.now,
            self.cards,
            loaded,
            tuple(self.running.values()),
            tuple(self.waiting.values()),
            self._usage_now(),
        )

    def _usage_now(self) -> Mapping[str, float]:
        found = {owner: self._used(owner) for owner in self._usage}
        for work in self.running.values():
            found[work.owner] = found.get(work.owner, 0.0) + self.now - work.started
        return found

    def _used(self, owner: str) -> float:
        seconds, at = self._usage.get(owner, (0.0, self.now))
        return float(seconds * 0.5 ** ((self.now - at) / USAGE_HALF_LIFE))

    def _apply(self, decisions: Sequence[Decision]) -> bool:
        """Carry out decisions; say whether one of them started something."""
        started = False
        for decision in decisions:
            match decision:
                case Start():
                    started = True
                    self._start(decision)
                case Evict():
                    self._evict(decision)
                case Yield():
                    self._yield(decision)
        self._check()
        return started

    def _start(self, start: Start) -> None:
        wish = self.waiting.pop(start.request)
        outcome = self.history.outcomes[start.request]
        job = outcome.job
        loading = job.load_seconds if start.loaded is None else 0.0
        remaining = outcome.remaining or job.run_seconds
        outcome.remaining = remaining
        outcome.started = self.now if outcome.started is None else outcome.started
        outcome.card = start.card
        holder = self._hold(start, job)
        option = next(o for o in wish.options if o.card == start.card)
        self.running[job.id] = Running(
            job.id, start.card, wish.klass, wish.owner, wish.key,
            None if holder else start.vram, self.now, loading + option.run_seconds,
            yields=job.yields, loaded=holder,
        )  # fmt: skip
        if loading or start.loaded is None:
            outcome.loads += 1
            self.history.loads += 1
        self._stints[job.id] = (self.now + loading, self.now + loading + remaining)
        self._at(self.now + loading + remaining, "ends", job.id)

    def _hold(self, start: Start, job: TraceJob) -> str | None:
        """Note what is loaded for a start; None when nothing stays loaded after it."""
        if start.loaded is not None:
            item = self.loaded[start.loaded]
            if item.state != "loaded" or item.leases >= item.parallel:
                self.history.violations.append(
                    f"{start.request} used {item.id}, which was not free"
                )
            self.loaded[item.id] = replace(
                item, leases=item.leases + 1, vram=(item.vram or 0) + start.vram
            )
            return item.id
        if not job.stays:
            return None
        name = f"{start.card}#{next(self._numbers)}"
        self.loaded[name] = Loaded(
            name, start.card, job.service, job.model, start.vram, "loading", 1,
            reload_seconds=job.load_seconds, next_use=0.5, parallel=job.parallel,
        )  # fmt: skip
        self._at(self.now + job.load_seconds, "loads", name)
        return name

    def _evict(self, evict: Evict) -> None:
        item = self.loaded[evict.loaded]
        if item.leases or item.pinned or item.state != "loaded":
            self.history.violations.append(f"{item.id} was unloaded while it was needed")
            return
        self.loaded[item.id] = replace(item, state="leaving", since=self.now)
        self.history.evictions += 1
        self._at(self.now + self.timing.leave_seconds, "leaves", item.id)

    def _yield(self, asked: Yield) -> None:
        work = self.running[asked.running]
        if work.yields and not work.yielding:
            self.running[work.id] = replace(work, yielding=True)
            self._at(self.now + self.timing.yield_seconds, "released", work.id)

    def _check(self) -> None:
        for card in self.cards:
            used = sum(item.vram or 0 for item in self.loaded.values() if item.card == card.id)
            used += sum(
                w.vram or 0 for w in self.running.values() if w.card == card.id and w.loaded is None
            )
            if card.capacity is not None and used > card.capacity:
                self.history.violations.append(f"{card.id} was over-committed at {self.now:.1f} s")

    # What happens by itself

    def _arrives(self, name: str) -> None:
        self.waiting[name] = self._wish(self.history.outcomes[name])

    def _wish(self, outcome: Outcome) -> Waiting:
        job = outcome.job
        expected = job.expected_seconds or job.run_seconds
        if outcome.remaining:
            expected *= outcome.remaining / job.run_seconds
        options = tuple(
            Option(c.id, job.vram, job.load_seconds, expected, job.parallel, job.holds, job.stays)
            for c in self.history.trace.cards
            if c.capacity >= job.vram
        )
        return Waiting(
            job.id, job.priority_class, job.owner, job.created, job.key, options, job.yields
        )

    def _loads(self, name: str) -> None:
        if name in self.loaded:
            self.loaded[name] = replace(self.loaded[name], state="loaded")

    def _leaves(self, name: str) -> None:
        del self.loaded[name]

    def _ends(self, name: str) -> None:
        work = self.running.get(name)
        # The end of a run that was broken off before it is no end.
        if work is None or self._stints[name][1] > self.now:
            return
        outcome = self.history.outcomes[name]
        self._leave(work, outcome)
        outcome.ended = self.now
        outcome.remaining = 0.0

    def _released(self, name: str) -> None:
        work = self.running.get(name)
        if work is None or not work.yielding:
            return
        outcome = self.history.outcomes[name]
        done = self.now - self.timing.yield_seconds - self._stints[name][0]
        self._leave(work, outcome)
        outcome.remaining = max(1.0, outcome.remaining - max(0.0, done))
        outcome.yielded += 1
        self.waiting[name] = self._wish(outcome)

    def _leave(self, work: Running, outcome: Outcome) -> None:
        del self.running[work.id]
        seconds = self.now - work.started
        self._usage[work.owner] = (self._used(work.owner) + seconds, self.now)
        if work.loaded is not None:
            item = self.loaded[work.loaded]
            self.loaded[item.id] = replace(item, leases=item.leases - 1)
            self._idle_since[item.id] = self.now
        history = self.history
        spent = history.used_byte_seconds
        spent[work.card] = spent.get(work.card, 0.0) + outcome.job.vram * seconds
        label = outcome.job.model or outcome.job.service
        history.stretches.append(
            Stretch(work.card, label, outcome.job.klass, work.started, self.now, outcome.job.vram)
        )

    def _at(self, when: float, kind: str, name: str) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), kind, name))
