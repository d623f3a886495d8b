"""Finds in what a run left behind whatever must not have happened. Pure: evidence in, words out."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

from benchmarks.chaos.evidence import Evidence, JobLife

ENDED = frozenset({"succeeded", "failed", "cancelled", "timed_out", "lost", "unknown"})
BROKE = frozenset({"unknown", "cancelled", "timed_out"})
"""How an opaque job may end whose program was broken off in the middle."""
_ROUNDED = 0.002
"""Journals round to a thousandth of a second, on both sides."""


def over_commits(seen: Evidence) -> Iterator[str]:
    """Yield where programs and models that were there at once had more than their card."""
    lives = [(r.card, r.began, r.last, r.vram) for r in seen.runs]
    lives += [(s.card, s.began, s.ended, s.size) for s in seen.models.stays]
    yield from _sums(seen, lives, "by the programs' own clocks")


def over_commits_in_journals(seen: Evidence) -> Iterator[str]:
    """Yield the same by the agents' journals."""
    lives = [
        (t.card, t.started + _ROUNDED, max(t.ended) - _ROUNDED, t.vram)
        for t in seen.tasks
        if t.started is not None and t.ended
    ]
    yield from _sums(seen, lives, "by the agent's journal")


def _sums(seen: Evidence, lives: Iterable[tuple[str, float, float, int]], by: str) -> Iterator[str]:
    moments: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for card, began, ended, vram in lives:
        moments[card] += [(began, vram), (max(began, ended), -vram)]
    for card, changes in moments.items():
        used, over = 0, False
        for at, change in sorted(changes):
            used += change
            if used > seen.capacity.get(card, 0) and not over:
                yield f"{card} held {used} bytes of {seen.capacity.get(card)} at {at:.3f}, {by}"
            over = used > seen.capacity.get(card, 0)


def outlived(seen: Evidence) -> Iterator[str]:
    """Yield programs that lived on when the memory of their lease had been given back."""
    ends = {(v.card, v.token): v.ended for v in seen.leases}
    for run in seen.runs:
        ended = ends.get((run.card, run.token))
        if ended is not None and run.last > ended:
            late = run.last - ended
            yield f"{run.task} of {run.job} lived {late:.3f} s longer than its lease on {run.card}"


def ends(seen: Evidence) -> Iterator[str]:
    """Yield jobs that ended more than once, or went on after their end."""
    for job in seen.jobs:
        final = [s for at, s in enumerate(job.told) if s in ENDED and not _goes_on(job, at)]
        if len(set(final)) > 1:
            yield f"{job.id} ended as {' and '.join(final)}"
        first = next((at for at, s in enumerate(job.told) if s in ENDED - {"lost"}), None)
        if first is not None and any(s not in ENDED for s in job.told[first:]):
            yield f"{job.id} went on after its end: {', '.join(job.told)}"
        if job.state in ENDED and (not job.told or job.told[-1] != job.state):
            yield f"{job.id} is {job.state}, which nobody was told"


def _goes_on(job: JobLife, at: int) -> bool:
    """Say whether a run was lost here and the job queued again, which is told in one breath."""
    return job.told[at] == "lost" and job.told[at + 1 : at + 2] == ("queued",)


def effects(seen: Evidence) -> Iterator[str]:
    """Yield effects that took place too often, or not although somebody was told that they did."""
    counted = Counter([*seen.effects, *seen.models.answered])
    for job in seen.jobs:
        count = counted.pop(job.id, 0)
        if count > 1 and job.kind != "idempotent":
            yield f"{job.id} ({job.kind}) took effect {count} times"
        if job.state == "succeeded" and count == 0:
            yield f"{job.id} ({job.kind}) succeeded without its effect"
    for job_id in counted:
        yield f"{job_id} took effect, and no table knows it"


def broken_opaque(seen: Evidence) -> Iterator[str]:
    """Yield opaque jobs that were begun twice, or broke and are not said to be unknown."""
    begun: dict[str, list[bool]] = defaultdict(list)
    for run in seen.runs:
        begun[run.job].append(run.whole)
    for job in seen.jobs:
        wholes = begun.get(job.id, [])
        if job.kind != "opaque" or not wholes:
            continue
        if len(wholes) > 1:
            yield f"{job.id} (opaque) was begun {len(wholes)} times"
        if not all(wholes) and job.state in ENDED - BROKE:
            yield f"{job.id} (opaque) broke in the middle and is {job.state}"


def tokens(seen: Evidence) -> Iterator[str]:
    """Yield tokens that did not rise, or were taken for what they do not stand for."""
    by_card = defaultdict(list)
    for lease in sorted(seen.leases, key=lambda v: (v.card, v.created)):
        by_card[lease.card].append(lease.token)
    for card, given in by_card.items():
        if any(later <= earlier for earlier, later in pairwise(given)):
            yield f"the tokens of {card} did not rise"
    leases = {(v.card, v.token): v for v in seen.leases}
    taken: dict[tuple[str, int], str] = {}
    for task in seen.tasks:
        what, place = f"{task.task} of {task.job}", (task.card, task.token)
        held = leases.get(place)
        if held is None or held.job != task.job:
            yield f"{what} was taken under a token of somebody else: {task.card} {task.token}"
        elif held.ended is not None and task.accepted - _ROUNDED > held.ended:
            yield f"{what} was taken under a token of the past: {task.card} {task.token}"
        if taken.setdefault(place, task.task) != task.task:
            yield f"{what} shares its token with {taken[place]}: {task.card} {task.token}"


def lost(seen: Evidence) -> Iterator[str]:
    """Yield jobs that were promised or begun, and are neither at their end nor on their way."""
    known = {job.id: job for job in seen.jobs}
    for call, job_id in seen.acknowledged.items():
        if job_id not in known:
            yield f"{job_id} was promised to {call}, and is not there"
    for call, count in Counter(job.call for job in seen.jobs).items():
        if count > 1:
            yield f"{call} became {count} jobs"
    for job in seen.jobs:
        if job.state == "running" or (job.state == "queued" and not job.waits):
            yield f"{job.id} is {job.state} for ever"


def left(seen: Evidence) -> Iterator[str]:
    """Yield what should be gone when all is over."""
    if any(job.state not in ENDED for job in seen.jobs):
        return
    yield from (f"{card} still promises {n} bytes" for card, n in seen.reserved.items() if n)
    for lease in seen.leases:
        if lease.state != "ended":
            yield f"the lease {lease.token} on {lease.card} of {lease.job} is {lease.state}"
    if seen.wishes:
        yield f"{seen.wishes} wishes are left at the gate"
    yield from (f"{name} lives" for name in seen.survivors)


def undecided(seen: Evidence) -> Iterator[str]:
    """Yield models that were unloaded without a decision since they had been loaded."""
    for gone in seen.models.unloads:
        said = (d for d in seen.evictions if (d.card, d.label) == (gone.card, gone.model))
        if not any(gone.loaded <= d.at <= gone.at + _ROUNDED for d in said):
            yield f"{gone.model} of {gone.service} was unloaded at {gone.at:.3f}, decided by nobody"


def unloaded_in_use(seen: Evidence) -> Iterator[str]:
    """Yield models that were unloaded while somebody held a lease on them."""
    for gone in seen.models.unloads:
        for lease in seen.leases:
            same = (lease.card, lease.service, lease.model) == (gone.card, gone.service, gone.model)
            if same and lease.created < gone.at < (lease.ended or gone.at + 1):
                yield (
                    f"{gone.model} of {gone.service} was unloaded at {gone.at:.3f} under the lease "
                    f"{lease.token}"
                )


def unserved(seen: Evidence) -> Iterator[str]:
    """Yield requests under a lease whose model was not there, because we had never loaded it."""
    leases = {v.id: v for v in seen.leases}
    for asked in seen.models.asked:
        lease = leases.get(asked.lease or "")
        if lease is None or asked.found or not asked.taken:
            continue
        if lease.ended is None or lease.ended > asked.at:
            yield (
                f"{asked.job} asked {asked.service} for {asked.model} at {asked.at:.3f} under the "
                f"lease {lease.token}, and it was not loaded"
            )


def phantoms(seen: Evidence) -> Iterator[str]:
    """Yield where the table of models and the servers' own word differ when all is over."""
    for (service, model), state in seen.residents.items():
        if state != "loaded":
            yield f"{model} of {service} is {state} for ever"
    for service, said in seen.held.items():
        known = {model for name, model in seen.residents if name == service}
        if said is None:
            yield f"{service} does not answer"
        elif said != known:
            yield f"{service} holds {sorted(said)}, and the table says {sorted(known)}"


def broken(seen: Evidence) -> Iterator[str]:
    """Yield answers that tell nobody what is wrong."""
    yield from seen.broken


def afterwards(seen: Evidence) -> Iterator[str]:
    """Yield what no longer works."""
    yield from seen.afterwards


def journals(seen: Evidence) -> Iterator[str]:
    """Yield tasks whose journal does not tell of exactly one end."""
    for task in seen.tasks:
        if len(task.ended) != 1:
            yield f"{task.task} of {task.job} has {len(task.ended)} ends in its journal"


RULES: dict[str, Callable[[Evidence], Iterator[str]]] = {
    "memory of a card, programs' clocks": over_commits,
    "memory of a card, agents' journals": over_commits_in_journals,
    "work beyond the end of its lease": outlived,
    "one end per job": ends,
    "effects per job": effects,
    "opaque: begun once, unknown when broken": broken_opaque,
    "tokens rise and are honoured": tokens,
    "no job lost": lost,
    "nothing left at the end": left,
    "one end per task in the journals": journals,
    "a model is unloaded by decision": undecided,
    "no model is unloaded under a lease": unloaded_in_use,
    "a lease's model is there": unserved,
    "table and servers agree at the end": phantoms,
    "errors say what is wrong": broken,
    "all works afterwards": afterwards,
}


def check(seen: Evidence) -> dict[str, Sequence[str]]:
    """Return the violations of each rule."""
    return {rule: list(find(seen)) for rule, find in RULES.items()}
