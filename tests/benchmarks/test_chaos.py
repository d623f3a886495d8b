"""The chaos run in short, with real processes; and its checker, which finds what is planted."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.chaos.__main__ import rage, report
from benchmarks.chaos.checker import RULES, check
from benchmarks.chaos.evidence import (
    Asked,
    Decided,
    Evidence,
    JobLife,
    LeaseLife,
    Models,
    Run,
    Stay,
    Task,
    Unload,
    read_journal,
    read_models,
)

GIB = 1024**3
CARD = "pc/0"


def run(job: str, token: int, began: float, last: float, **more: object) -> Run:
    made = Run(f"t-{job}-{token}", job, CARD, token, 4 * GIB, "keyed", began, last)
    return replace(made, **more)  # type: ignore[arg-type]


def task(job: str, token: int, started: float, ended: float) -> Task:
    return Task(
        f"t-{job}-{token}", job, CARD, token, 4 * GIB, started - 0.1, started, (ended,)
    )  # fmt: skip


def lease(job: str, token: int, created: float, ended: float | None) -> LeaseLife:
    return LeaseLife(CARD, token, job, "active" if ended is None else "ended", created, ended)


def job(name: str, *told: str, kind: str = "keyed") -> JobLife:
    told = told or ("queued", "running", "succeeded")
    return JobLife(name, f"call-{name}", kind, told[-1], told)


def stay(model: str, began: float, ended: float) -> Stay:
    return Stay("ollama", CARD, model, 4 * GIB, began, ended)


def asks(name: str, at: float, *, found: bool, taken: bool = False) -> Asked:
    return Asked("ollama", "llama", at, f"lease-{name}", name, found, taken)


SERVED = replace(
    lease("m", 5, 30, 36), id="lease-m", service="ollama", model="llama"
)  # fmt: skip
MODELS = Models(
    stays=(stay("llama", 28, 42), stay("llama", 60, 70)),
    unloads=(Unload("ollama", CARD, "llama", 40, loaded=29),),
    asked=(asks("m", 31, found=True),),
    answered=("m",),
)
GOOD = Evidence(
    capacity={CARD: 8 * GIB},
    reserved={CARD: 0},
    runs=(run("a", 1, 10, 20), run("b", 2, 12, 18), run("c", 3, 18.5, 25)),
    tasks=(task("a", 1, 10, 20.1), task("b", 2, 12, 18.1), task("c", 3, 18.5, 25.1)),
    leases=(lease("a", 1, 9, 20.2), lease("b", 2, 11, 18.2), lease("c", 3, 18.3, 25.2), SERVED),
    jobs=(job("a"), job("b", kind="opaque"), job("c"), job("m", kind="idempotent")),
    effects=("a", "b", "c"),
    acknowledged={"call-a": "a", "call-b": "b", "call-c": "c"},
    models=MODELS,
    evictions=(Decided(CARD, "llama", 39.9),),
    residents={("ollama", "llama"): "loaded"},
    held={"ollama": frozenset({"llama"})},
)


def with_models(**changed: object) -> dict[str, object]:
    return {"models": replace(MODELS, **changed)}  # type: ignore[arg-type]


def with_job(changed: JobLife) -> tuple[JobLife, ...]:
    return tuple(changed if known.id == changed.id else known for known in GOOD.jobs)


PLANTED: list[tuple[str, str, Mapping[str, object]]] = [
    ("memory of a card, programs' clocks", "three at once",
     {"runs": (*GOOD.runs, run("d", 4, 19, 21))}),
    ("memory of a card, programs' clocks", "a card that nobody knows",
     {"runs": (run("a", 1, 10, 20, card="pc/7"),)}),
    ("memory of a card, agents' journals", "three at once",
     {"tasks": (*GOOD.tasks, task("d", 4, 19, 21))}),
    ("memory of a card, programs' clocks", "a model beside work that leaves it no room",
     with_models(stays=(stay("llama", 17, 19),))),
    ("memory of a card, programs' clocks", "a model that is loaded before another has left",
     with_models(stays=(*MODELS.stays, stay("small", 41, 50), stay("large", 41.5, 50)))),
    ("a model is unloaded by decision", "nobody decided it", {"evictions": ()}),
    ("a model is unloaded by decision", "that was for an earlier stay of it",
     {"evictions": (Decided(CARD, "llama", 20),)}),
    ("no model is unloaded under a lease", "somebody works with it",
     {"leases": (*GOOD.leases[:3], replace(SERVED, ended=40.5))}),
    ("a lease's model is there", "we had never loaded it",
     with_models(asked=(asks("m", 31, found=False, taken=True),))),
    ("effects per job", "a model's answer that never came", with_models(answered=())),
    ("table and servers agree at the end", "a model that only the table has",
     {"held": {"ollama": frozenset()}}),
    ("table and servers agree at the end", "a model that the table forgot", {"residents": {}}),
    ("table and servers agree at the end", "a load that never ends",
     {"residents": {("ollama", "llama"): "loading"}}),
    ("errors say what is wrong", "a crash", {"broken": ("chaos_chat: internal_error",)}),
    ("all works afterwards", "no comeback", {"afterwards": ("it did not come back",)}),
    ("work beyond the end of its lease", "a run that was not stopped",
     {"runs": (run("a", 1, 10, 20.3), *GOOD.runs[1:])}),
    ("one end per job", "two ends",
     {"jobs": with_job(job("a", "queued", "running", "failed", "succeeded"))}),
    ("one end per job", "a job that rose again",
     {"jobs": with_job(job("a", "queued", "running", "unknown", "queued", "running", "unknown"))}),
    ("one end per job", "an end that nobody was told",
     {"jobs": with_job(replace(job("a"), told=("queued", "running")))}),
    ("effects per job", "twice", {"effects": ("a", "a", "b", "c")}),
    ("effects per job", "not at all", {"effects": ("a", "b")}),
    ("effects per job", "of a job that is not there", {"effects": ("a", "b", "c", "x")}),
    ("opaque: begun once, unknown when broken", "begun twice",
     {"runs": (*GOOD.runs, run("b", 4, 30, 31))}),
    ("opaque: begun once, unknown when broken", "broken, and said to have succeeded",
     {"runs": (GOOD.runs[0], run("b", 2, 12, 18, whole=False), GOOD.runs[2])}),
    ("opaque: begun once, unknown when broken", "broken, and said to have failed",
     {"runs": (GOOD.runs[0], run("b", 2, 12, 18, whole=False), GOOD.runs[2]),
      "jobs": with_job(job("b", "queued", "running", "failed", kind="opaque"))}),
    ("tokens rise and are honoured", "a token that fell",
     {"leases": (*GOOD.leases, lease("d", 2, 30, 31))}),
    ("tokens rise and are honoured", "somebody else's token",
     {"tasks": (*GOOD.tasks[:2], replace(GOOD.tasks[2], token=1))}),
    ("tokens rise and are honoured", "a token of the past",
     {"tasks": (replace(GOOD.tasks[0], accepted=20.3, started=20.4, ended=(20.5,)),)}),
    ("tokens rise and are honoured", "two tasks of one token",
     {"tasks": (*GOOD.tasks, replace(GOOD.tasks[0], task="again"))}),
    ("no job lost", "promised and gone", {"acknowledged": {"call-x": "x"}}),
    ("no job lost", "asked for once, there twice",
     {"jobs": (*GOOD.jobs, replace(job("d"), call="call-a"))}),
    ("no job lost", "waits for nothing", {"jobs": with_job(job("a", "queued"))}),
    ("no job lost", "runs for ever", {"jobs": with_job(job("a", "queued", "running"))}),
    ("nothing left at the end", "promised bytes", {"reserved": {CARD: 1}}),
    ("nothing left at the end", "a lease",
     {"leases": (*GOOD.leases, lease("d", 4, 30, None))}),
    ("nothing left at the end", "a wish", {"wishes": 1}),
    ("nothing left at the end", "a program", {"survivors": ("process 7",)}),
    ("one end per task in the journals", "no end",
     {"tasks": (*GOOD.tasks[:2], replace(GOOD.tasks[2], ended=()))}),
    ("one end per task in the journals", "two ends",
     {"tasks": (*GOOD.tasks[:2], replace(GOOD.tasks[2], ended=(25.1, 25.2)))}),
]  # fmt: skip


def test_the_checker_finds_nothing_where_nothing_is_wrong() -> None:
    assert not any(check(GOOD).values()), check(GOOD)
    gone = with_models(asked=(asks("m", 31, found=False, taken=False),))
    assert not any(check(replace(GOOD, **gone)).values()), "a server may lose what it loads again"  # type: ignore[arg-type]
    lost_once = job("a", "queued", "running", "lost", "queued", "running", "succeeded")
    waits = replace(job("c", "queued"), waits=True)
    fine = replace(GOOD, jobs=(lost_once, GOOD.jobs[1], waits, GOOD.jobs[3]), leases=GOOD.leases)
    assert not any(check(fine).values()), check(fine)


@pytest.mark.parametrize(("rule", "what", "planted"), PLANTED, ids=lambda v: str(v)[:60])
def test_the_checker_finds_what_is_planted(
    rule: str, what: str, planted: Mapping[str, object]
) -> None:
    seen = replace(GOOD, **planted)  # type: ignore[arg-type]
    assert check(seen)[rule], what


def test_every_rule_of_the_checker_has_something_planted() -> None:
    assert {rule for rule, _, _ in PLANTED} == set(RULES)


def test_an_agents_journal_is_put_together_task_by_task() -> None:
    about = {"gpu": 0, "token": 3, "vram": GIB, "job": "j", "task": "t"}
    lines = [
        {"event": "opened", "at": 0.5},
        {"event": "accepted", "at": 1.0, **about},
        {"event": "accepted", "at": 1.0, "task": "no card", "gpu": None},
        {"event": "started", "at": 1.1, "task": "t", "pid": 7},
        {"event": "ended", "at": 2.3, "task": "t", "ended": 2.2},
    ]
    assert read_journal("pc", lines) == [Task("t", "j", "pc/0", 3, GIB, 1.0, 1.1, (2.2,))]


def test_a_model_servers_journals_are_put_together_over_its_lives(tmp_path: Path) -> None:
    about = {"service": "ollama", "model": "llama"}
    asked = {**about, "event": "asked", "found": False, "lease": "v", "job": "j", "call": None}
    first = [
        {"at": 1, "event": "up", "service": "ollama", "card": "pc-0"},
        {**asked, "at": 2, "lease": "w"},
        {**about, "at": 2, "event": "loading", "size": GIB},
        {**about, "at": 3, "event": "loaded"},
    ]
    second = [
        {"at": 9, "event": "up", "service": "ollama", "card": "pc-0"},
        {**asked, "at": 10},
        {**about, "at": 10, "event": "loading", "size": GIB},
        {**about, "at": 11, "event": "loaded"},
        {**about, "at": 11.5, "event": "answered", "job": "j"},
        {**about, "at": 12, "event": "unload", "serving": 0},
        {**about, "at": 13, "event": "left"},
        {**asked, "at": 14},
    ]
    folder = tmp_path / "models"
    folder.mkdir()
    for name, lines in (("b", first), ("a", second)):
        (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(x) for x in lines))
        (folder / f"{name}.tick").write_text("7.5" if lines is first else "20")
    seen = read_models(tmp_path)
    assert seen.stays == [
        Stay("ollama", CARD, "llama", GIB, 2, 7.5),
        Stay("ollama", CARD, "llama", GIB, 10, 13),
    ]
    assert seen.unloads == [Unload("ollama", CARD, "llama", 12, loaded=11)]
    # Nobody had loaded it, it died with its server, we had it unloaded.
    assert [a.taken for a in seen.asked] == [True, False, True]
    assert seen.answered == ["j"]


@pytest.mark.timeout(600)
async def test_nothing_is_violated_when_everything_is_killed_and_frozen_at_random() -> None:
    with tempfile.TemporaryDirectory(prefix="chaos-") as home:
        outcome = await rage(Path(home), seconds=10, seed=11, jobs=18, pause=0.8, probe=False)
    assert outcome.violations == [], report(outcome)
    assert sum(outcome.faults.values()) >= 4
    assert len(outcome.seen.runs) >= 6
    assert len(outcome.seen.models.stays) >= 3
