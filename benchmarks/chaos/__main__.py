"""Kill, freeze and cut off at random while GPU jobs run on two machines; then look for violations.

    python -m benchmarks chaos --seconds 120 --seed 1
    python -m benchmarks chaos --link    # root: one machine behind a link that is cut and mended

Real processes on loopback: PostgreSQL, Valkey, a server with workers, two more workers, and two
agents with two simulated cards each, one of which a server of models shares with other work. People
ask for GPU work of four classes, under keys and not, for training that yields, and for models'
answers, and cancel some. When the monkey rests, everything gets time to end; then models must still
be unloaded when they are idle and come back when they were pushed out, and the checker reads the
programs' own clocks, the agents' and the model servers' journals and the tables. The goal is no
violation.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

from benchmarks.chaos import calm
from benchmarks.chaos.checker import RULES, check
from benchmarks.chaos.evidence import Evidence
from benchmarks.chaos.lab import Lab, open_lab
from benchmarks.chaos.monkey import Monkey
from benchmarks.chaos.work import People, wishes
from benchmarks.node_link import Namespace
from benchmarks.table import show
from nebula.log import configure_logging

_DRAIN_SECONDS = 240.0
_ALONE = "CHAOS_IN_A_NAMESPACE"
"""Set in the process that was started in a network namespace of its own."""


@dataclass(frozen=True)
class Outcome:
    """What one run did and left."""

    faults: Counter[str]
    seen: Evidence
    answers: Counter[str]
    drained: float
    unanswered: int
    """Wishes that nobody was promised a job for, however often they asked."""
    chats: Counter[str]
    """How the chats ended."""

    @property
    def violations(self) -> list[str]:
        """Return every violation, each with its rule."""
        found = check(self.seen)
        told = [f"{rule}: {said}" for rule, sayings in found.items() for said in sayings]
        return told + ([f"{self.unanswered} people asked in vain"] if self.unanswered else [])


async def rage(
    home: Path,
    *,
    seconds: float,
    seed: int,
    jobs: int,
    pause: float,
    there: Namespace | None = None,
    probe: bool = True,
) -> Outcome:
    """Run it all once in a folder; `probe` asks whether all works afterwards."""
    async with open_lab(home, there) as lab:
        monkey, people = Monkey(lab, seed, pause=pause), People(lab)
        wanted = wishes(seed, jobs, seconds, list(lab.holders.values()))
        asking = [asyncio.create_task(people.ask(w)) for w in wanted]
        try:
            await monkey.rage(seconds)
            began = time.monotonic()
            await _rest(lab, asking)
            drained = time.monotonic() - began
            pending = sum(not task.done() for task in asking)
            agreed = await calm.agree(lab)
            wrong = await calm.probe(lab, people) if probe else []
        finally:
            (home / "faults.log").write_text("\n".join(monkey.log) + "\n")
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        seen = replace(
            lab.evidence(people.acknowledged),
            residents=agreed.residents,
            held=agreed.held,
            afterwards=wrong,
        )
        seen = replace(seen, broken=[*seen.broken, *people.broken, *lab.ended])
    return Outcome(monkey.faults, seen, people.answers, drained, pending, people.chats)


async def _rest(lab: Lab, asking: "list[asyncio.Task[None]]") -> None:
    """Wait for the end of everything, for so long as may be expected."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            await asyncio.gather(*asking)
            await _none(lab.unfinished)
            await _none(lab.promised)


async def _none(count: Callable[[], Awaitable[int]]) -> None:
    while True:
        with contextlib.suppress(psycopg.OperationalError):
            if not await count():
                return
        await asyncio.sleep(0.3)


def report(outcome: Outcome) -> str:
    """Return the tables of a run."""
    seen, found = outcome.seen, check(outcome.seen)
    faults = [[name, f"{n}"] for name, n in sorted(outcome.faults.items())]
    faults.append(["all", f"{sum(outcome.faults.values())}"])
    states = Counter(f"{job.kind}, {job.state}" for job in seen.jobs)
    broke = sum(not run.whole for run in seen.runs)
    figures = [
        *([name, f"{n}"] for name, n in sorted(states.items())),
        ["programs begun on a card", f"{len(seen.runs)}"],
        ["of those broken off", f"{broke}"],
        ["stays of models on a card", f"{len(seen.models.stays)}"],
        ["models unloaded by us", f"{len(seen.models.unloads)}"],
        *([f"chat, {said}", f"{n}"] for said, n in sorted(outcome.chats.items())),
        ["leases", f"{len(seen.leases)}"],
        ["asked and not answered", f"{outcome.unanswered}"],
        ["seconds until all had ended", f"{outcome.drained:.0f}"],
    ]
    rules = [[rule, f"{len(found[rule])}"] for rule in RULES]
    return "\n\n".join(
        [
            show(["fault", "times"], faults),
            show(["jobs", "count"], figures),
            show(["must hold", "violations"], rules),
        ]
    )


def main(words: list[str] | None = None) -> int:
    """Run, print the tables, and name each violation."""
    reader = argparse.ArgumentParser(prog="python -m benchmarks chaos", description=__doc__)
    reader.add_argument("--seconds", type=float, default=120.0)
    reader.add_argument("--seed", type=int, default=1)
    reader.add_argument("--jobs", type=int, default=None, help="how many; 1.2 a second if left out")
    reader.add_argument("--pause", type=float, default=2.0, help="mean seconds between two faults")
    reader.add_argument(
        "--keep", type=Path, default=None, help="an empty folder to leave it all in"
    )
    reader.add_argument("--link", action="store_true", help="one machine behind a link (root)")
    given = reader.parse_args(words)
    if given.link and _ALONE not in os.environ:
        # In a network namespace of its own: nothing outside is touched.
        again = [sys.executable, "-m", "benchmarks", "chaos", *(words or sys.argv[1:])]
        os.execvpe("unshare", ["unshare", "-n", *again], {**os.environ, _ALONE: "1"})
    configure_logging("console", "CRITICAL")
    jobs = int(given.seconds * 1.2) if given.jobs is None else given.jobs
    with contextlib.ExitStack() as stack:
        folder = given.keep or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-"))
        )
        folder.mkdir(parents=True, exist_ok=True)
        there = stack.enter_context(Namespace()) if given.link else None
        outcome = asyncio.run(
            rage(
                folder,
                seconds=given.seconds,
                seed=given.seed,
                jobs=jobs,
                pause=given.pause,
                there=there,
            )
        )
    print(report(outcome))
    violations = outcome.violations
    print(f"\nseed {given.seed}: {len(violations)} violations; the goal is none")
    for said in violations:
        print(f"  {said}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
