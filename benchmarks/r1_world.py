"""A home of cards, holders and node agents for R1: what the ledger believes, and what is really so.

The ledger grants leases with a token that only grows per card, and believes in a lease until it
expires. The card is another matter: work of a frozen holder goes on until the agent fences it, a
while after the lease expired. Whoever confuses the two over-commits the card, and whoever asks no
token lets a holder that was declared dead finish work that was given to another.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count

from nebula.gpu.policy.types import (
    Card,
    Decision,
    Evict,
    Key,
    Loaded,
    Option,
    PriorityClass,
    Running,
    Snapshot,
    Start,
    Wait,
    Waiting,
    Yield,
)

LEASE_SECONDS = 6.0
FENCE_SECONDS = 5.0
"""How long after a lease's end its work may still be on the card."""
LEAVE_SECONDS = 0.5
YIELD_SECONDS = 3.0

Policy = Callable[[Snapshot], Sequence[Decision]]


class Violation(AssertionError):
    """An invariant does not hold."""


@dataclass
class Job:
    """One job: what it asks for, and what became of it."""

    wish: Waiting
    load: float
    remaining: float
    stays: bool
    waiting_since: float
    attempt: int = 0
    token: tuple[str, int] | None = None
    """The card and token of its newest lease."""
    finishes: int = 0
    cancelled: bool = False
    running: bool = False
    """It holds a lease that is not over."""

    @property
    def over(self) -> bool:
        return bool(self.finishes) or self.cancelled


@dataclass
class Lease:
    """A right to a card; `on_card` says whether its work is really there."""

    job: str
    card: str
    token: int
    vram: int
    resident: str | None
    begun: float
    loaded_at: float
    ends: float
    state: str = "active"  # active, lost, ended
    frozen: bool = False
    on_card: bool = True
    counted: bool = True
    """The ledger counts its memory."""
    yielding: bool = False


class HomeWorld:
    """Ledger, cards and holders in virtual time; every change asks the policy again."""

    def __init__(self, cards: Sequence[Card], policy: Policy, bug: str = "") -> None:
        self.now = 0.0
        self.policy = policy
        self.bug = bug
        self.cards = {c.id: c for c in cards}
        self.jobs: dict[str, Job] = {}
        self.leases: dict[str, Lease] = {}
        self.open: dict[str, Lease] = {}
        """Those of them that the ledger counts, or whose work is on a card."""
        self.residents: dict[str, Loaded] = {}
        self.tokens = dict.fromkeys(self.cards, 0)
        self.promise: tuple[str, float, float] | None = None
        """What was first in the queue, its expected start, and when that was said."""
        self.trouble_until = 0.0
        """Predictions do not hold before this time."""
        self._coming = 0
        self._numbers = count(1)
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    # Asking

    def submit(
        self,
        klass: PriorityClass,
        key: Key,
        options: tuple[Option, ...],
        *,
        owner: str,
        yields: bool,
        stays: bool,
        after: float = 0.0,
    ) -> None:
        name = f"j{next(self._numbers):04}"
        at = self.now + after

        self._coming += 1

        def arrive() -> None:
            self._coming -= 1
            wish = Waiting(name, klass, owner, at, key, options, yields)
            load, run = options[0].load_seconds, options[0].run_seconds
            self.jobs[name] = Job(wish, load, run, stays, at)

        self._at(at, arrive)

    @property
    def coming(self) -> int:
        """Return how many jobs are still to come or wait."""
        return self._coming + sum(self.waits(job) for job in self.jobs.values())

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now = self._events[0][0]
            while self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
            self.ask()
        self.now = end
        self.ask()

    def disturb(self, seconds: float = 0.0) -> None:
        """Note that what was predicted does not hold until then."""
        self.promise = None
        self.trouble_until = max(self.trouble_until, self.now + seconds)

    # Deciding

    def ask(self) -> None:
        for _ in range(30):
            decisions = self.policy(self.snapshot())
            self._promised(decisions)
            if not self._apply(decisions):
                return
        raise Violation("the policy does not come to rest")

    def snapshot(self) -> Snapshot:
        uses: dict[str, int] = {}
        running = []
        for name, lease in self.open.items():
            if not lease.counted:
                continue
            job = self.jobs[lease.job]
            if lease.resident is not None:
                uses[lease.resident] = uses.get(lease.resident, 0) + 1
            running.append(
                Running(
                    name,
                    lease.card,
                    job.wish.klass,
                    job.wish.owner,
                    job.wish.key,
                    None if lease.resident else lease.vram,
                    lease.begun,
                    lease.ends - lease.begun,
                    job.wish.yields,
                    lease.yielding,
                    lease.resident,
                )
            )
        loaded = tuple(
            replace(r, leases=uses[r.id]) if r.id in uses else r for r in self.residents.values()
        )
        waiting = tuple(j.wish for j in self.jobs.values() if self.waits(j))
        return Snapshot(self.now, tuple(self.cards.values()), loaded, tuple(running), waiting)

    def waits(self, job: Job) -> bool:
        return not (job.over or job.running)

    def _promised(self, decisions: Sequence[Decision]) -> None:
        """Check that what is first in the queue is never put off by what comes after it."""
        head = next((d for d in decisions if isinstance(d, Wait) and d.expected_start), None)
        before = self.promise
        self.promise = None
        if head is None or head.expected_start is None:
            return
        overtaken = decisions.index(head) > 0 and any(
            isinstance(d, Start | Evict | Yield) and getattr(d, "for_request", "") != head.request
            for d in decisions[: decisions.index(head)]
        )
        if self.now < self.trouble_until or overtaken:
            return
        # Within one moment only what was started behind it can have changed its prospects.
        same = before is not None and (before[0], before[2]) == (head.request, self.now)
        if same and before is not None and head.expected_start > before[1] + 0.01:
            raise Violation(
                f"{head.request} was promised {before[1]:.2f} and now {head.expected_start:.2f}"
            )
        self.promise = (head.request, head.expected_start, self.now)

    # Doing

    def _apply(self, decisions: Sequence[Decision]) -> bool:
        for decision in decisions:
            match decision:
                case Start():
                    self._start(decision)
                case Evict():
                    self._evict(decision)
                case Yield():
                    self._ask_to_yield(decision)
        self.check()
        # The next round must say the same of what was unloaded or asked to yield, too.
        return any(not isinstance(decision, Wait) for decision in decisions)

    def _start(self, start: Start) -> None:
        job = self.jobs[start.request]
        if not self.waits(job):
            raise Violation(f"{start.request} was started although it does not wait")
        card = self.cards[start.card]
        if not card.healthy or card.draining:
            raise Violation(f"{start.request} was started on {card.id}, which takes nothing")
        resident = start.loaded
        loading = 0.0 if resident else job.load
        if resident is not None:
            item = self.residents[resident]
            users = sum(x.counted and x.resident == resident for x in self.open.values())
            if item.state != "loaded" or users >= item.parallel:
                raise Violation(f"{start.request} uses {resident}, which has no place")
            self.residents[resident] = replace(item, vram=(item.vram or 0) + start.vram)
        elif job.stays:
            resident = self._load(job, start)
        self.tokens[start.card] += 1
        job.attempt += 1
        job.token = (start.card, self.tokens[start.card])
        begun, ends = self.now, self.now + loading + job.remaining
        name = f"{job.wish.id}.{job.attempt}"
        job.running = True
        self.leases[name] = self.open[name] = Lease(
            job.wish.id,
            start.card,
            self.tokens[start.card],
            start.vram,
            resident,
            begun,
            self.now + loading,
            ends,
        )
        self._at(ends, lambda: self._works_to_its_end(name))

    def _load(self, job: Job, start: Start) -> str:
        option = next(o for o in job.wish.options if o.card == start.card)
        others = [r for r in self.residents.values() if r.card == start.card]
        if option.holds != "copies" and any(r.key == job.wish.key for r in others):
            raise Violation(f"{job.wish.key} is loaded twice on {start.card}")
        if option.holds == "one" and any(r.service == job.wish.key[0] for r in others):
            raise Violation(f"{job.wish.key[0]} holds two models on {start.card}")
        name = f"{start.card}#{next(self._numbers)}"
        self.residents[name] = Loaded(
            name,
            start.card,
            *job.wish.key,
            start.vram,
            "loading",
            reload_seconds=job.load,
            next_use=0.5,
            parallel=option.parallel,
            since=self.now,
        )

        def ready() -> None:
            if name in self.residents:
                self.residents[name] = replace(self.residents[name], state="loaded")

        self._at(self.now + job.load, ready)
        return name

    def _evict(self, evict: Evict) -> None:
        item = self.residents[evict.loaded]
        used = any(x.counted and x.resident == item.id for x in self.open.values())
        if item.pinned or used or item.state != "loaded":
            raise Violation(f"{item.id} was unloaded although it is pinned or in use")
        self.residents[item.id] = replace(item, state="leaving", since=self.now)
        self._at(self.now + LEAVE_SECONDS, lambda: self._gone(item.id))

    def _gone(self, name: str) -> None:
        self.residents.pop(name, None)

    def _ask_to_yield(self, asked: Yield) -> None:
        lease = self.leases[asked.running]
        job = self.jobs[lease.job]
        if not job.wish.yields:
            raise Violation(f"{lease.job} was asked to yield and cannot")
        if self.jobs[asked.for_request].wish.klass <= job.wish.klass:
            raise Violation(f"{lease.job} was asked to yield for work that is no more urgent")
        lease.yielding = True
        self._at(self.now + YIELD_SECONDS, lambda: self._yielded(asked.running))

    def _yielded(self, name: str) -> None:
        lease = self.leases[name]
        if lease.state != "active" or lease.frozen:
            return
        job = self.jobs[lease.job]
        job.remaining = max(0.5, job.remaining - max(0.0, self.now - lease.loaded_at))
        options = tuple(replace(o, run_seconds=job.remaining) for o in job.wish.options)
        job.wish = replace(job.wish, options=options)
        job.waiting_since = self.now
        self._end(lease)

    # Holders and agents

    def _works_to_its_end(self, name: str) -> None:
        lease = self.leases[name]
        if lease.on_card and not lease.frozen:
            self.report(name)

    def report(self, name: str) -> bool:
        """Let a holder say that its job is done, with the token of its lease."""
        lease = self.leases[name]
        job = self.jobs[lease.job]
        current = lease.state == "active" and job.token == (lease.card, lease.token)
        if not current and self.bug != "no token check":
            return False
        if not current or job.finishes:
            raise Violation(f"{lease.job} was finished with the stale token {lease.token}")
        job.finishes += 1
        self._end(lease)
        return True

    def _end(self, lease: Lease) -> None:
        lease.state = "ended"
        lease.on_card = lease.counted = False
        self.jobs[lease.job].running = False
        self._close()

    def freeze(self, name: str) -> None:
        """Stop a holder (SIGSTOP, cable pulled): it renews nothing, its work stays on the card."""
        lease = self.leases[name]
        lease.frozen = True
        self.disturb(LEASE_SECONDS + FENCE_SECONDS + 1)
        self._at(self.now + LEASE_SECONDS, lambda: self._expire(name))

    def _expire(self, name: str) -> None:
        lease = self.leases[name]
        if lease.state != "active" or not lease.frozen:
            return
        lease.state = "lost"
        job = self.jobs[lease.job]
        job.running = False
        job.waiting_since = self.now
        if self.bug == "expiry frees at once":
            lease.counted = False
        self._at(self.now + FENCE_SECONDS, lambda: self._fence(name))

    def _fence(self, name: str) -> None:
        """Let the agent kill what nobody renewed; only now is the memory free."""
        self.leases[name].on_card = self.leases[name].counted = False
        self._close()

    def _close(self) -> None:
        self.open = {n: x for n, x in self.open.items() if x.counted or x.on_card}

    def wake(self, name: str) -> None:
        """Let a frozen holder go on: it believes in its lease and reports its work as done."""
        lease = self.leases[name]
        lease.frozen = False
        if lease.state == "active":
            late = max(self.now, lease.ends)
            self._at(late, lambda: self._works_to_its_end(name))
            self.disturb()
        else:
            self.report(name)

    def cancel(self, name: str) -> None:
        job = self.jobs[name]
        job.cancelled = True
        for lease in list(self.open.values()):
            if lease.job == name and lease.state == "active" and not lease.frozen:
                self._end(lease)

    # Checking

    def check(self) -> None:
        for card in self.cards.values():
            used = (card.foreign or 0) + sum(
                r.vram or 0 for r in self.residents.values() if r.card == card.id
            )
            used += sum(
                x.vram
                for x in self.open.values()
                if x.card == card.id and x.on_card and x.resident is None
            )
            if card.capacity is not None and used > card.capacity:
                raise Violation(f"{card.id} holds {used} of {card.capacity}")
        for resident in self.residents.values():
            users = [x for x in self.open.values() if x.on_card and x.resident == resident.id]
            if len(users) > resident.parallel:
                raise Violation(f"{resident.id} serves {len(users)} at once")
        active = [x.job for x in self.open.values() if x.state == "active"]
        if len(set(active)) < len(active):
            raise Violation(f"a job runs twice: {sorted(active)}")

    def _at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), what))
