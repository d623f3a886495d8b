"""Plays the corpus: each vector against the running product, with what ran compared to the word."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.approvals import approvers, threads, vault, vectors
from benchmarks.approvals.vectors import Vector
from benchmarks.approvals.world import World
from tests.graphs.lab import DONE

CORPUS: Sequence[Vector] = vectors.VECTORS
__all__ = ["CORPUS", "Played", "approvers", "play", "threads"]


@dataclass(frozen=True)
class Played:
    """What ran though nobody approved it, and what did not run though somebody had."""

    vector: Vector
    wrong: tuple[str, ...]
    missing: tuple[str, ...]


async def play(vector: Vector, world: World) -> Played:
    """Play one vector."""
    vault.EFFECTS.clear()
    vault.VERSIONS.clear()
    DONE.clear()
    await vector.attack(world)
    ran, may = Counter(vault.EFFECTS), Counter(vector.may_run)
    return Played(vector, tuple((ran - may).elements()), tuple((may - ran).elements()))
