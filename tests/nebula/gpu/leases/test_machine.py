"""The ledger on PostgreSQL keeps its promises, and the checks find bugs that are planted."""

import pytest

from nebula.db.engine import Database
from tests.database import TestServer
from tests.nebula.gpu.leases.machine import PLANTED, Violation, run


async def test_nothing_is_over_committed_lost_or_done_twice(database: Database) -> None:
    world = await run(database, seed=1, steps=250)
    assert len(world.ended) > 0, "jobs do end in this world"


@pytest.mark.parametrize("bug", PLANTED)
async def test_a_planted_bug_is_found(postgres: TestServer, bug: str) -> None:
    for seed in range(8):
        with postgres.clone() as url:
            async with Database(url) as database:
                try:
                    await run(database, seed, steps=120, bug=bug)
                except Violation:
                    return
    pytest.fail(f"nobody noticed: {bug}")
