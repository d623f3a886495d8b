"""Hostile programs in the real sandbox, and the same ones outside, where they must succeed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nebula.sandbox.run import run
from tests.nebula.sandbox.probes import PROBES, Probe
from tests.nebula.sandbox.world import World, world

pytestmark = pytest.mark.sandbox
_ROOT = os.geteuid() == 0
_OUTSIDE = [each for each in PROBES if each.control == "user" or (each.control == "root" and _ROOT)]


def _name(probe: Probe) -> str:
    return probe.name.replace(" ", "-")


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture(autouse=True)
def _canaries_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEBULA_CANARY", "canary")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nebula-canary")


@pytest.mark.parametrize("probe", PROBES, ids=_name)
async def test_nothing_gets_out(around: World, probe: Probe) -> None:
    finished = await run(around.job(probe, probe.limits))
    said = finished.text + finished.stderr.decode()
    assert said.startswith("HELD"), said
    assert around.victim.poll() is None, "the process outside is gone"


@pytest.mark.parametrize("probe", _OUTSIDE, ids=_name)
def test_the_attempt_succeeds_without_the_sandbox(around: World, probe: Probe) -> None:
    said = around.outside(probe)
    assert said.startswith("MANAGED"), said


@pytest.mark.parametrize("probe", [p for p in PROBES if p.control == "loose"], ids=_name)
async def test_the_attempt_succeeds_with_looser_limits(around: World, probe: Probe) -> None:
    finished = await run(around.job(probe, probe.loose))
    said = finished.text + finished.stderr.decode()
    assert said.startswith("MANAGED"), said


def test_there_are_enough_probes() -> None:
    assert len({probe.name for probe in PROBES}) == len(PROBES) >= 30


def test_no_probe_left_anything_outside(around: World) -> None:
    assert not [*Path("/").glob("nebula-probe*"), *Path("/usr").glob("nebula-probe*")]
