"""What the chaos run left behind: the programs' own words, the agents' journals, and the tables."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row


@dataclass(frozen=True)
class Run:
    """One life of a program on a card, by its own word: from its first to its last breath."""

    task: str
    job: str
    card: str
    token: int
    vram: int
    kind: str
    began: float
    last: float
    whole: bool = True


@dataclass(frozen=True)
class Task:
    """One task as an agent's journal has it; None stands for what it does not say."""

    task: str
    job: str
    card: str
    token: int
    vram: int
    accepted: float
    started: float | None
    ended: tuple[float, ...]


@dataclass(frozen=True)
class LeaseLife:
    """One lease of the table."""

    card: str
    token: int
    job: str | None
    state: str
    created: float
    ended: float | None
    id: str = ""
    service: str | None = None
    model: str | None = None


@dataclass(frozen=True)
class Stay:
    """One stay of a model on a card, by its server's own word: also while it loads and leaves."""

    service: str
    card: str
    model: str
    size: int
    began: float
    ended: float


@dataclass(frozen=True)
class Unload:
    """A model that its server was asked to drop, and when it had been loaded."""

    service: str
    card: str
    model: str
    at: float
    loaded: float


@dataclass(frozen=True)
class Asked:
    """A request for an answer, and whether its server had the model when it came."""

    service: str
    model: str
    at: float
    lease: str | None
    job: str | None
    found: bool
    taken: bool = False
    """It was not there because we had it unloaded; what a server loses by itself, it loads again."""


@dataclass(frozen=True)
class Models:
    """What the servers of models did."""

    stays: Sequence[Stay] = ()
    unloads: Sequence[Unload] = ()
    asked: Sequence[Asked] = ()
    answered: Sequence[str] = ()
    """The jobs that got their whole answer."""


@dataclass(frozen=True)
class Decided:
    """One decision to unload a model."""

    card: str | None
    label: str
    at: float


@dataclass(frozen=True)
class JobLife:
    """One job of the table, and the states that were told of it, in their order."""

    id: str
    call: str
    kind: str
    state: str
    told: tuple[str, ...]
    waits: bool = False
    """It has a row in the queue or a wish at the gate: it is not forgotten."""


@dataclass(frozen=True)
class Evidence:
    """Everything the checker looks at."""

    capacity: Mapping[str, int]
    """Bytes of each card that may be used."""
    reserved: Mapping[str, int] = field(default_factory=dict)
    """Bytes of each card that are promised at the end for more than the models on it."""
    runs: Sequence[Run] = ()
    tasks: Sequence[Task] = ()
    leases: Sequence[LeaseLife] = ()
    jobs: Sequence[JobLife] = ()
    effects: Sequence[str] = ()
    """The job of each effect that took place."""
    acknowledged: Mapping[str, str] = field(default_factory=dict)
    """The jobs that were promised to those who asked, by call."""
    wishes: int = 0
    """Wishes that wait or are placed at the end."""
    survivors: Sequence[str] = ()
    """Programs that live at the end."""
    models: Models = Models()
    evictions: Sequence[Decided] = ()
    residents: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """The state of each model in the table at the end, by service and model."""
    held: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    """What each server said at the same time that it holds; None when it did not answer."""
    broken: Sequence[str] = ()
    """Answers and jobs' errors that tell a person nothing."""
    afterwards: Sequence[str] = ()
    """What no longer worked when the storm was over."""


def read_runs(out: Path) -> list[Run]:
    """Read what the programs said of themselves."""
    found = []
    for file in sorted((out / "runs").glob("*.json")):
        try:
            said = json.loads(file.read_text())
        except ValueError:
            continue  # it was killed while it wrote its first word
        tick = file.with_suffix(".tick")
        words = tick.read_text() if tick.exists() else ""
        found.append(
            Run(
                task=said["task_id"],
                job=said["job"],
                card=f"{said['node']}/{said['gpu']}",
                token=said["token"],
                vram=said["vram"],
                kind=said["kind"],
                began=said["began"],
                last=float(words) if words else said["began"],
                whole=file.with_suffix(".done").exists(),
            )
        )
    return found


def read_models(out: Path) -> Models:
    """Read what the servers of models said of themselves."""
    stays: list[Stay] = []
    unloads: list[Unload] = []
    asked: list[Asked] = []
    answered: list[str] = []
    fates: dict[str, dict[str, str]] = defaultdict(dict)
    journals = [
        (file, [json.loads(line) for line in file.read_text().splitlines()])
        for file in (out / "models").glob("*.jsonl")
    ]
    for file, lines in sorted(journals, key=lambda journal: float(journal[1][0]["at"])):
        service = lines[0]["service"]
        about = _Life(service, lines[0]["card"], fates[service])
        for line in lines:
            about.take(line)
        tick = file.with_suffix(".tick")
        words = tick.read_text() if tick.exists() else ""
        about.end(max(float(words or 0), lines[-1]["at"]))
        stays += about.stays
        unloads += about.unloads
        asked += about.asked
        answered += about.answered
    return Models(stays, unloads, asked, answered)


class _Life:
    """One life of a server of models, read line by line."""

    def __init__(self, service: str, card: str, fate: dict[str, str]) -> None:
        """Take whose life it is, and what became of its models in earlier ones."""
        self.service = service
        self.card = "/".join(card.rsplit("-", 1))
        self.stays: list[Stay] = []
        self.unloads: list[Unload] = []
        self.asked: list[Asked] = []
        self.answered: list[str] = []
        self._up = 0.0
        self._there: dict[str, tuple[float, int]] = {}
        self._loaded: dict[str, float] = {}
        self._fate = fate

    def take(self, line: Mapping[str, Any]) -> None:
        """Take in what it says next."""
        at, model = line["at"], line.get("model", "")
        match line["event"]:
            case "up":
                self._up = at
            case "loading":
                self._there[model] = (at, line["size"])
            case "loaded":
                self._loaded[model] = at
                self._fate.pop(model, None)
            case "failed" | "left" | "dropped":
                self._gone(model, at)
                self._fate[model] = line["event"]
            # A life that did not hold it drops nothing: an unloading of the last one is gone on with.
            case "unload" if model in self._there:
                self.unloads.append(
                    Unload(self.service, self.card, model, at, self._loaded.get(model, self._up))
                )
            case "asked":
                taken = self._fate.get(model, "left") == "left"
                self.asked.append(
                    Asked(
                        self.service, model, at, line["lease"], line["job"], line["found"], taken
                    )
                )  # fmt: skip
            case "answered" if line["job"] is not None:
                self.answered.append(line["job"])

    def end(self, at: float) -> None:
        """Let everything go that it held when it was last heard of."""
        for model in list(self._there):
            self._gone(model, at)
            self._fate[model] = "died"

    def _gone(self, model: str, at: float) -> None:
        if model in self._there:
            began, size = self._there.pop(model)
            self.stays.append(Stay(self.service, self.card, model, size, began, at))


def read_effects(out: Path) -> list[str]:
    """Return the job of each effect."""
    file = out / "effects.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line)["job"] for line in lines]


def read_journal(node: str, lines: Iterable[Mapping[str, Any]]) -> list[Task]:
    """Put an agent's journal together, task by task."""
    accepted: dict[str, Mapping[str, Any]] = {}
    started: dict[str, float] = {}
    ended: dict[str, list[float]] = defaultdict(list)
    for line in lines:
        match line["event"]:
            case "accepted" if line.get("gpu") is not None:
                accepted[line["task"]] = line
            case "started":
                started[line["task"]] = line["at"]
            case "ended":
                ended[line["task"]].append(line.get("ended") or line["at"])
    return [
        Task(
            task=name,
            job=line["job"],
            card=f"{node}/{line['gpu']}",
            token=line["token"],
            vram=line["vram"],
            accepted=line["at"],
            started=started.get(name),
            ended=tuple(ended[name]),
        )
        for name, line in accepted.items()
    ]


_JOBS = """
    SELECT j.id, j.call_id AS call, j.kind, j.state, EXISTS (
        SELECT FROM gpu_requests r WHERE r.job_id = j.id AND r.state IN ('waiting', 'placed')
    ) OR EXISTS (
        SELECT FROM procrastinate.procrastinate_jobs q WHERE q.id = j.queue_id
    ) AS waits, ARRAY(
        SELECT e.data->>'state' FROM events e
        WHERE e.stream = 'job:' || j.id AND e.kind = 'job.state' ORDER BY e.seq
    ) AS told FROM jobs j WHERE j.gated
"""
_LEASES = """
    SELECT card, token, job_id AS job, state, extract(epoch FROM created_at)::float8 AS created,
        extract(epoch FROM ended_at)::float8 AS ended, id, service, model FROM gpu_leases
"""
_EVICTIONS = """
    SELECT card, label, extract(epoch FROM at)::float8 AS at FROM gpu_decisions
    WHERE kind = 'evict'
"""
_BROKEN = """
    SELECT tool || ' ' || id || ': ' || (error->>'message') AS said FROM jobs
    WHERE error->>'code' = 'internal_error'
"""
_CARDS = """
    SELECT id, capacity - kept AS capacity, reserved - (
        SELECT coalesce(sum(vram), 0)::bigint FROM gpu_residents r WHERE r.card = c.id
    ) AS reserved FROM gpu_cards c
"""
_WISHES = "SELECT count(*) AS n FROM gpu_requests WHERE state IN ('waiting', 'placed')"


def read_tables(url: str) -> dict[str, Any]:
    """Return what the tables say, as fields of the evidence."""
    with psycopg.connect(url, row_factory=dict_row) as db:
        cards = db.execute(_CARDS).fetchall()
        wishes = db.execute(_WISHES).fetchone()
        assert wishes is not None
        return {
            "capacity": {row["id"]: row["capacity"] for row in cards},
            "reserved": {row["id"]: row["reserved"] for row in cards},
            "leases": [LeaseLife(**row) for row in db.execute(_LEASES)],
            "jobs": [JobLife(**{**row, "told": tuple(row["told"])}) for row in db.execute(_JOBS)],
            "wishes": wishes["n"],
            "evictions": [Decided(**row) for row in db.execute(_EVICTIONS)],
            "broken": [row["said"] for row in db.execute(_BROKEN)],
        }
