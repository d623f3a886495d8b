"""R1: the scheduler's invariants, by a Hypothesis state machine in virtual time.

Random homes, jobs, floods of chats, frozen and woken holders, cancelled jobs, cards that are
drained or filled by a game: never over-committed, no job lost, none finished twice, no stale token
accepted, waiting bounded, the head of the queue never put off by backfill while predictions hold.
Then bugs are planted, and each must be found. The second table is the same of the ledger on
PostgreSQL: random wishes, placements (two schedulers at once too), crashes before the commit,
dying and returning workers; two bugs can be planted only there.

Run: python -m benchmarks.r1 (--steps 100000)
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from benchmarks import r1_postgres
from benchmarks.r1_world import (
    FENCE_SECONDS,
    LEASE_SECONDS,
    LEAVE_SECONDS,
    YIELD_SECONDS,
    HomeWorld,
    Job,
    Violation,
)
from benchmarks.table import show
from nebula.gpu.policy.decide import decide
from nebula.gpu.policy.rules import ByClass, Rules
from nebula.gpu.policy.types import Card, Decision, Loaded, Option, PriorityClass, Snapshot

GB = 2**30
STARVATION = 30.0
CROWD = 20
"""With more jobs to come or waiting there are no further floods, which would only cost time."""
LONGEST = 15.0
"""No job loads and runs longer than this here."""

RULES = Rules(
    ageing=ByClass(chat=0, image=5, batch=10, training=14),
    affinity=ByClass(chat=1, image=2, batch=3, training=3),
    alike=1.0,
    starvation=STARVATION,
    fair_share_most=ByClass(5, 5, 5, 5),
    shortest_first=ByClass(chat=1, image=1, batch=0, training=0),
    priority_step=2.0,
    preempt_after=ByClass(chat=1, image=3, batch=1e9, training=1e9),
    yield_quantum=3.0,
    yield_seconds=4.0,
)
BUGS = {
    "": RULES,
    "expiry frees at once": RULES,
    "no token check": RULES,
    # Classes go strictly first, for ever.
    "ageing off": replace(
        RULES,
        starvation=1e9,
        ageing=ByClass(chat=0, image=1e6, batch=2e6, training=3e6),
    ),
    # What is started beside a reservation is taken to end at once.
    "backfill delays the head": replace(RULES, backfill_slack=-1.0),
}
# (key, gigabytes, load seconds, how the service holds models, stays loaded, can yield)
KINDS = (
    (("ollama", "llama3.1:8b"), 5.5, 2.0, "models", True, False),
    (("ollama", "llama3.2:3b"), 2.5, 1.0, "models", True, False),
    (("comfyui", "SDXL"), 7.0, 3.0, "one", True, False),
    (("comfyui", "SD 1.5"), 4.0, 2.0, "one", True, False),
    (("captions", "florence"), 3.0, 1.0, "copies", True, False),
    (("trainer", "lora"), 7.0, 3.0, "copies", False, True),
    (("trainer", "qlora"), 11.0, 4.0, "copies", False, True),
)
kinds = st.sampled_from(KINDS)
classes = st.sampled_from(PriorityClass)
patient = st.sampled_from([PriorityClass.TRAINING, PriorityClass.BATCH, PriorityClass.IMAGE])
long_runs = st.floats(8.0, LONGEST - 4.0).map(lambda s: round(s, 1))
runs = st.floats(0.5, LONGEST - 4.0).map(lambda s: round(s, 1))


class Home(RuleBasedStateMachine):
    """One home from its first job to its last."""

    bug = ""
    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.world: HomeWorld

    @initialize(
        sizes=st.lists(st.sampled_from((8, 12, 24)), min_size=1, max_size=3),
        embedder=st.booleans(),
        siege=st.none() | st.tuples(kinds, patient, long_runs),
    )
    def moves_in(self, sizes: list[int], embedder: bool, siege: Any) -> None:
        cards = [Card(f"pc{n}/0", f"pc{n}", size * GB) for n, size in enumerate(sizes)]
        rules = BUGS[self.bug]

        def policy(snapshot: Snapshot) -> Sequence[Decision]:
            return decide(snapshot, rules)

        self.world = HomeWorld(cards, policy, self.bug)
        if embedder:
            self.world.residents["embedder"] = Loaded(
                "embedder", "pc0/0", "ollama", "nomic", int(0.5 * GB), pinned=True, parallel=4
            )
        if siege is not None:
            self.besieges(*siege)

    @rule(kind=kinds, klass=classes, run=runs, owner=st.sampled_from("ab"))
    def asks(self, kind: Any, klass: PriorityClass, run: float, owner: str) -> None:
        self._submit(kind, klass, run, owner, 0.0)
        self.world.ask()

    @precondition(lambda self: self.world.coming < CROWD)
    @rule(kind=kinds, run=runs, number=st.integers(4, 50), every=st.floats(1.0, 8.0))
    def floods(self, kind: Any, run: float, number: int, every: float) -> None:
        for n in range(number):
            self._submit(kind, PriorityClass.CHAT, run, "c", n * every)
        self.world.ask()

    def besieges(self, kind: Any, klass: PriorityClass, run: float) -> None:
        """Ask for one job of a lower class amid chats that come faster than they can be served."""
        size, holds = kind[1] * GB, kind[3]
        fitting = [c.capacity or 0 for c in self.world.cards.values() if (c.capacity or 0) >= size]
        places = sum(int(c // size) if holds == "copies" else 1 for c in fitting)
        if 0 < places <= 4:
            for n in range(40 * places):
                self._submit(kind, PriorityClass.CHAT, run, "c", n * run / places * 0.8)
            self._submit(kind, klass, run, "a", run * 0.1)
            self.world.ask()

    def _submit(
        self, kind: Any, klass: PriorityClass, run: float, owner: str, after: float
    ) -> None:
        key, size, load, holds, stays, yields = kind
        options = tuple(
            Option(c.id, int(size * GB), load, run, holds=holds, stays=stays)
            for c in self.world.cards.values()
        )
        self.world.submit(klass, key, options, owner=owner, yields=yields, stays=stays, after=after)

    @rule(seconds=st.floats(0.1, 60.0))
    def goes_on(self, seconds: float) -> None:
        self.world.advance(round(seconds, 1))

    def _running(self, frozen: bool) -> list[str]:
        return [
            name
            for name, lease in self.world.leases.items()
            if lease.frozen == frozen and (frozen or lease.state == "active")
        ]

    @precondition(lambda self: self._running(False))
    @rule(data=st.data())
    def freezes(self, data: st.DataObject) -> None:
        self.world.freeze(data.draw(st.sampled_from(self._running(False))))

    @precondition(lambda self: self._running(True))
    @rule(data=st.data())
    def wakes(self, data: st.DataObject) -> None:
        self.world.wake(data.draw(st.sampled_from(self._running(True))))
        self.world.ask()

    @precondition(lambda self: self.world.leases)
    @rule(data=st.data())
    def reports_again(self, data: st.DataObject) -> None:
        """At-least-once delivery: an end is told twice, or by who is not the holder any more."""
        over = [n for n, x in self.world.leases.items() if x.state != "active"]
        if over and self.world.report(data.draw(st.sampled_from(over))):
            raise Violation("a stale report was accepted")

    @precondition(lambda self: any(not j.over for j in self.world.jobs.values()))
    @rule(data=st.data())
    def cancels(self, data: st.DataObject) -> None:
        open_jobs = [n for n, j in self.world.jobs.items() if not j.over]
        self.world.disturb(LEASE_SECONDS + FENCE_SECONDS)
        self.world.cancel(data.draw(st.sampled_from(open_jobs)))
        self.world.ask()

    @rule(data=st.data(), size=st.integers(0, 8))
    def plays_a_game(self, data: st.DataObject, size: int) -> None:
        """Let a program that is not ours take some of what is free, or give it back."""
        card = self.world.cards[data.draw(st.sampled_from(sorted(self.world.cards)))]
        used = sum(r.vram or 0 for r in self.world.residents.values() if r.card == card.id)
        used += sum(
            x.vram
            for x in self.world.leases.values()
            if x.card == card.id and x.on_card and not x.resident
        )
        foreign = min(size * GB, (card.capacity or 0) - used)
        self.world.cards[card.id] = replace(card, foreign=foreign)
        self.world.disturb()
        self.world.ask()

    @rule(data=st.data(), draining=st.booleans())
    def drains(self, data: st.DataObject, draining: bool) -> None:
        card = self.world.cards[data.draw(st.sampled_from(sorted(self.world.cards)))]
        self.world.cards[card.id] = replace(card, draining=draining)
        self.world.disturb()
        self.world.ask()

    @invariant()
    def nothing_waits_for_ever(self) -> None:
        type(self).steps += 1
        world = getattr(self, "world", None)
        if world is None:
            return
        for name, job in world.jobs.items():
            if world.waits(job) and _possible(world, job):
                limit = _limit(world, job)
                if world.now - job.waiting_since > limit:
                    raise Violation(
                        f"{name} ({job.wish.klass.name}) has waited "
                        f"{world.now - job.waiting_since:.0f} s, more than {limit:.0f} s"
                    )
            elif world.waits(job):
                job.waiting_since = world.now

    def teardown(self) -> None:
        """Without further trouble every job that fits comes to its end."""
        world = getattr(self, "world", None)
        if world is None:
            return
        for card in world.cards.values():
            world.cards[card.id] = replace(card, draining=False, foreign=0)
        world.disturb(LEASE_SECONDS + FENCE_SECONDS)
        for name in self._running(True):
            world.wake(name)
        for _ in range(400):
            world.advance(60.0)
            if not world._events:
                break
            self.nothing_waits_for_ever()
        for name, job in world.jobs.items():
            if not job.over and _possible(world, job):
                raise Violation(f"{name} was lost")


def _possible(world: HomeWorld, job: Job) -> bool:
    """Say whether some card that takes work could ever hold it."""
    for option in job.wish.options:
        card = world.cards[option.card]
        pinned = sum(
            r.vram or 0 for r in world.residents.values() if r.card == card.id and r.pinned
        )
        room = (card.capacity or 0) - (card.foreign or 0) - pinned
        if not card.draining and room >= (option.vram or 0):
            return True
    return False


def _limit(world: HomeWorld, job: Job) -> float:
    """Return the longest that a job may wait by the promise of bounded overtaking.

    What came up to `STARVATION` later may go before it; each of those, and once what was
    backfilled meanwhile, takes a job's longest time, and frozen holders their leases'.
    """
    until = job.waiting_since + STARVATION + RULES.alike
    ahead = [j for j in world.jobs.values() if j.wish.created <= until]
    frozen = sum(lease.frozen or lease.state == "lost" for lease in world.leases.values())
    longest = max(j.load + j.wish.options[0].run_seconds for j in world.jobs.values())
    each = 2 * longest + 2 * LEAVE_SECONDS
    trouble = (LEASE_SECONDS + FENCE_SECONDS + LONGEST) * frozen
    saving = YIELD_SECONDS * sum(j.wish.yields for j in ahead)
    return STARVATION + each * (len(ahead) + 1) + saving + trouble


def machine(bug: str = "") -> type[Home]:
    """Return the machine with a bug planted, or without."""
    return type("PlantedHome" if bug else "SoundHome", (Home,), {"bug": bug, "steps": 0})


def check(planted: type[Home], examples: int, steps: int = 50, *, shrink: bool = False) -> None:
    """Run the machine; raises what it found."""
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        report_multiple_bugs=False,
        # Whether something is found counts here, not the smallest way to it.
        phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
    )
    run_state_machine_as_test(planted, settings=chosen)


def main() -> None:
    """Count steps of the sound policy, then find each planted bug."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--steps", type=int, default=100_000)
    wanted = reader.parse_args().steps
    started = time.perf_counter()
    sound = machine()
    check(sound, wanted // 40)
    rows = [["none", f"{sound.steps:,}", "0", f"{time.perf_counter() - started:.0f}"]]
    missed = []
    for bug in BUGS:
        if not bug:
            continue
        started, planted = time.perf_counter(), machine(bug)
        try:
            check(planted, 1000)
            found = "missed"
            missed.append(bug)
        except Violation as violation:
            found = str(violation)
        rows.append([bug, f"{planted.steps:,}", found, f"{time.perf_counter() - started:.0f}"])
    print(show(["planted bug", "steps", "violations", "s"], rows))
    print("\nOn PostgreSQL:\n")
    missed += asyncio.run(r1_postgres.main())
    if missed:
        sys.exit(f"not found: {', '.join(missed)}")


if __name__ == "__main__":
    main()
