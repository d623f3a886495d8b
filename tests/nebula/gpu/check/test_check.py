"""The check of a card, over a driver that tells the truth, hides things, or is broken."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from nebula.errors import NebulaError, NotFound, UpstreamUnavailable
from nebula.gpu.check.report import CheckReport, Finding
from nebula.gpu.check.run import check
from nebula.gpu.nvml import Nvml
from nebula.services.sizes import GIB, MIB
from nebula.settings import Settings
from tests.fakes.cuda import CONTEXT, SharedCard
from tests.fakes.nvml import FakeCard, FakeNvml, NVMLError
from ui.cli.gpu_check import blocks

RunCheck = Callable[..., Awaitable[CheckReport]]


@pytest.fixture
def card(tmp_path: Path) -> SharedCard:
    shared = SharedCard(tmp_path / "card.json")
    shared.set(total=12 * GIB, others=GIB)
    return shared


@pytest.fixture
def run(card: SharedCard, settings: Settings) -> RunCheck:
    """Give a function that checks the card; its driver's memory is a file."""

    async def checked(*, cuda: str = "", patience: float = 30.0, **how: Any) -> CheckReport:
        cards = [FakeCard(12 * GIB, card.used, processes=card.processes, **how)]
        return await check(
            nvml=Nvml(lambda: FakeNvml(cards)),
            argv=(sys.executable, "-m", "tests.fakes.cuda", cuda or str(card.file)),
            database_url=settings.database_url,
            patience=patience,
        )

    return checked


def _found(report: CheckReport, words: str) -> Finding:
    (found,) = [f for f in report.cards[0].findings if words in f.what]
    return found


async def test_a_sound_card_is_found_right_with_its_figures(run: RunCheck) -> None:
    report = await run()
    assert report.wrong == report.hidden == 0, report
    assert (report.driver, report.cuda) == ("580.65.06", "13.0")
    assert _found(report, "program starts").seen == "+200 MiB"
    assert _found(report, "is taken shows").seen == "+2048 MiB"
    assert "with 2248 MiB" in _found(report, "under its process").seen
    assert _found(report, "another program's").seen == "+2048 MiB"
    assert _found(report, "left for leases").seen == "-2048 MiB"
    assert "other programs hold 3.2 GB" in _found(report, "free waits").seen
    assert _found(report, "starts when the memory is free").milliseconds is not None
    planned = -(-(2 * GIB + CONTEXT) * 105 // 100) / MIB
    assert f"planned with {planned:.0f} MiB" in _found(report, "peak").seen
    assert _found(report, "killed process").seen == "-2248 MiB"
    table, verdict = blocks(report)[0], blocks(report)[-1]
    assert "Card 0: NVIDIA GeForce RTX 3060, driver 580.65.06" in str(table)
    assert "Everything that can be seen is right: 11 of 11" in str(verdict)


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        ("nothing", "no processes, as in a container"),
        ("of the host", "--pid=host"),
        ("no memory", "without its memory, as on Windows"),
    ],
)
async def test_what_a_driver_hides_is_said_and_is_no_fault(
    run: RunCheck, card: SharedCard, lists: str, words: str
) -> None:
    card.set(lists=lists)
    report = await run()
    assert (report.wrong, report.hidden) == (0, 2), report
    assert words in _found(report, "under its process").seen
    assert "count instead" in _found(report, "peak").note
    assert "; 2 cannot be seen here" in str(blocks(report)[-1])


async def test_a_card_without_a_known_size_is_not_counted_on(run: RunCheck) -> None:
    report = await run(whole=False)
    assert report.wrong == 0, report
    assert _found(report, "what the card is").state == "hidden"
    assert "service map" in _found(report, "free waits").note


@pytest.mark.parametrize(
    ("fault", "wrong"),
    [
        ({"stuck": GIB}, ["is taken shows", "another program's", "left for leases"]),
        ({"leaks": True}, ["starts when the memory is free", "is freed comes back"]),
        ({"keeps_the_dead": True}, ["killed process"]),
    ],
)
async def test_a_driver_that_does_not_tell_the_truth_is_found(
    run: RunCheck, card: SharedCard, fault: dict[str, Any], wrong: list[str]
) -> None:
    card.set(**fault)
    report = await run(patience=1.5)
    assert {_found(report, words).state for words in wrong} == {"wrong"}, report
    assert " are wrong.**" in str(blocks(report)[-1])


async def test_without_the_cuda_driver_the_next_step_is_told(run: RunCheck) -> None:
    report = await run(cuda="none")
    found = report.cards[0].findings[-1]
    assert (report.wrong, found.seen) == (1, "CUDA refuses: libcuda.so.1 is not here")
    assert "NVIDIA_DRIVER_CAPABILITIES" in found.note


async def test_a_card_that_is_full_is_left_alone(run: RunCheck, card: SharedCard) -> None:
    card.set(others=12 * GIB - 300 * MIB)
    report = await run()
    assert "Only 300 MiB of the card are free" in report.cards[0].findings[-1].seen


async def test_a_size_that_does_not_fit_is_refused_by_the_driver(
    card: SharedCard, settings: Settings
) -> None:
    cards = [FakeCard(12 * GIB, card.used, processes=card.processes)]
    report = await check(
        nvml=Nvml(lambda: FakeNvml(cards)),
        size=13 * GIB,
        argv=(sys.executable, "-m", "tests.fakes.cuda", str(card.file)),
        database_url=settings.database_url,
        patience=1.5,
    )
    found = report.cards[0].findings[-1]
    assert found.seen == "CUDA refuses: cuMemAlloc_v2: CUDA_ERROR_OUT_OF_MEMORY"
    assert "smaller --size" in found.note


@pytest.mark.parametrize(
    ("library", "only", "error", "words"),
    [
        (FakeNvml([]), None, NotFound, "no NVIDIA GPU"),
        (FakeNvml([], NVMLError("Unknown Error")), None, UpstreamUnavailable, "does not answer"),
        (FakeNvml([FakeCard(GIB)]), 3, NotFound, "no card 3"),
    ],
)
async def test_without_a_card_that_is_said(
    library: FakeNvml, only: int | None, error: type[NebulaError], words: str
) -> None:
    with pytest.raises(error, match=words):
        await check(nvml=Nvml(lambda: library), only=only)
