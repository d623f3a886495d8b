"""Seeded traces of mixed home use: a night's batch, and a day of chat, images and training."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from nebula.gpu.simulate.trace import Trace, TraceCard, TraceJob
from nebula.services.sizes import GIB

_Class = Literal["chat", "image", "batch", "training"]


@dataclass(frozen=True)
class _Kind:
    """A model as it is used at home; sizes and times are typical of consumer cards."""

    klass: _Class
    service: str
    model: str
    gigabytes: float
    load: float
    run: tuple[float, float]
    """Median seconds, and the spread (sigma of the logarithm)."""
    weight: float
    holds: Literal["one", "models", "copies"] = "models"
    stays: bool = True
    yields: bool = False


_CHAT = (
    _Kind("chat", "ollama", "llama3.1:8b", 5.5, 6, (12, 0.6), 10),
    _Kind("chat", "ollama", "llama3.2:3b", 2.5, 3, (6, 0.6), 6),
    _Kind("chat", "ollama", "qwen2.5:14b", 9.5, 11, (20, 0.6), 4),
    _Kind("chat", "ollama", "gemma2:27b", 17.0, 20, (35, 0.5), 1),
    _Kind("chat", "whisper", "large-v3", 3.0, 4, (15, 0.5), 2),
)
_IMAGE = (
    _Kind("image", "comfyui", "SDXL", 7.0, 9, (25, 0.5), 6, holds="one"),
    _Kind("image", "comfyui", "SD 1.5", 4.0, 5, (10, 0.5), 3, holds="one"),
    _Kind("image", "comfyui", "FLUX", 11.0, 20, (70, 0.4), 3, holds="one"),
    _Kind("image", "upscaler", "esrgan", 2.5, 3, (12, 0.5), 2),
)
_BATCH = (
    _Kind("batch", "captions", "florence", 2.5, 4, (60, 0.5), 3),
    _Kind("batch", "video", "wan2.1", 10.0, 15, (180, 0.4), 2),
    _Kind("batch", "embeddings", "bge-large", 1.5, 2, (45, 0.5), 3),
)
_TRAINING = (
    _Kind("training", "trainer", "SDXL LoRA", 10.5, 25, (600, 0.4), 2, "copies", False, True),
    _Kind("training", "trainer", "8B QLoRA", 15.0, 30, (900, 0.4), 1, "copies", False, True),
    _Kind("training", "trainer", "SD 1.5 LoRA", 6.5, 15, (400, 0.4), 2, "copies", False, True),
)
# How often each kind is drawn for a batch, in the order above.
_SHARES = (4, 3, 3, 1, 2, 4, 3, 3, 2, 3, 2, 3, 0.8, 0.4, 0.8)
_OWNERS = ("anna", "ben", "chris")
_RESERVE = GIB // 2


def cards(*gigabytes: float) -> tuple[TraceCard, ...]:
    """Return a machine for each card, with half a gigabyte kept for the desktop."""
    return tuple(
        TraceCard(id=f"pc{n}/0", capacity=round(size * GIB) - _RESERVE)
        for n, size in enumerate(gigabytes, start=1)
    )


def batch(seed: int, sizes: Sequence[float] = (8, 12, 24), jobs: int = 300) -> Trace:
    """Return a night's work: everything is asked for at once, in one class, in random order.

    Every job is a process of its own, so that only memory limits how much runs beside it.
    """
    random = Random(f"batch {seed}")  # noqa: S311 - no secret
    kinds = (*_CHAT, *_IMAGE, *_BATCH, *_TRAINING)
    found = []
    for number in range(jobs):
        kind = random.choices(kinds, _SHARES)[0]
        found.append(_job(random, number, 0.0, kind, sizes, klass="batch", copies=True))
    return Trace(name=f"batch {seed}", cards=cards(*sizes), jobs=tuple(found))


def online(
    seed: int, sizes: Sequence[float] = (8, 12, 24), jobs: int = 300, load: float = 0.7
) -> Trace:
    """Return the jobs of a batch coming one by one at random times.

    `load` is the share of the cards' bytes × seconds that the work takes.
    """
    random = Random(f"online {seed}")  # noqa: S311 - no secret
    kinds = (*_CHAT, *_IMAGE, *_BATCH, *_TRAINING)
    work = [
        _job(random, n, 0.0, random.choices(kinds, _SHARES)[0], sizes, klass="batch", copies=True)
        for n in range(jobs)
    ]
    span = _span(work, sizes, load)
    times = sorted(random.uniform(0, span) for _ in work)
    moved = [
        j.model_copy(update={"created": round(t, 3)}) for j, t in zip(work, times, strict=True)
    ]
    return Trace(name=f"online {seed}", cards=cards(*sizes), jobs=tuple(moved))


def _span(work: Sequence[TraceJob], sizes: Sequence[float], load: float) -> float:
    area = sum(j.vram * j.run_seconds for j in work)
    return area / (load * sum(c.capacity for c in cards(*sizes)))


def home(
    seed: int, sizes: Sequence[float] = (8, 12, 24), jobs: int = 300, load: float = 0.6
) -> Trace:
    """Return a day of chats, images, batches and trainings of three people.

    `load` is the share of the cards' bytes × seconds that the work takes. Chats and images come
    in bursts: several of one model, soon after each other.
    """
    random = Random(f"home {seed}")  # noqa: S311 - no secret
    picked: list[_Kind] = []
    while len(picked) < jobs:
        group = random.choices((_CHAT, _IMAGE, _BATCH, _TRAINING), (60, 25, 10, 1.5))[0]
        kind = random.choices(group, [k.weight for k in group])[0]
        burst = {"chat": 4, "image": 5, "batch": 3, "training": 1}[kind.klass]
        picked += [kind] * min(random.randint(1, burst), jobs - len(picked))
    work = [_job(random, n, 0.0, kind, sizes) for n, kind in enumerate(picked)]
    area = sum(j.vram * j.run_seconds for j in work)
    span = area / (load * sum(c.capacity for c in cards(*sizes)))
    return Trace(name=f"home {seed}", cards=cards(*sizes), jobs=tuple(_spread(random, work, span)))


def _spread(random: Random, work: Sequence[TraceJob], span: float) -> list[TraceJob]:
    """Let the jobs come over a span; those of one burst a few seconds apart."""
    starts: list[float] = []
    for before, job in zip([None, *work], work, strict=False):
        if before is not None and before.key == job.key:
            starts.append(starts[-1] + random.expovariate(1 / 15))
        else:
            starts.append(random.uniform(0, span))
    owners: list[str] = []
    for before, job in zip([None, *work], work, strict=False):
        same = before is not None and before.key == job.key
        owners.append(owners[-1] if same else random.choices(_OWNERS, (5, 3, 2))[0])
    moved = [
        job.model_copy(update={"created": round(at, 3), "owner": owner})
        for job, at, owner in zip(work, starts, owners, strict=True)
    ]
    return sorted(moved, key=lambda j: (j.created, j.id))


def _job(
    random: Random,
    number: int,
    created: float,
    kind: _Kind,
    sizes: Sequence[float],
    *,
    klass: _Class | None = None,
    copies: bool = False,
) -> TraceJob:
    """Draw one job; what is too big for the largest card is made to fit it."""
    median, spread = kind.run
    seconds = median * random.lognormvariate(0, spread)
    largest = max(sizes) * GIB - _RESERVE
    return TraceJob(
        id=f"j{number:04}",
        created=created,
        owner=random.choices(_OWNERS, (5, 3, 2))[0],
        klass=klass or kind.klass,
        service=kind.service,
        model=kind.model,
        vram=min(round(kind.gigabytes * GIB), int(largest)),
        load_seconds=kind.load,
        run_seconds=round(seconds, 3),
        # What is expected is right to about 15 %, as a footprint's history is.
        expected_seconds=round(seconds * random.lognormvariate(0, 0.15), 3),
        holds="copies" if copies else kind.holds,
        stays=kind.stays or copies,
        yields=kind.yields,
    )
