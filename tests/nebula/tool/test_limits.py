"""Limits over a real Valkey: shared between processes, and never in the way when it is gone."""

import socket

import pytest

from nebula.db.valkey import EmbeddedValkey
from nebula.errors import RateLimited
from nebula.settings import Settings
from nebula.tool.limits import Limits, open_limits


def limited(per_minute: int, redis_url: str) -> Settings:
    return Settings(_env_file=None, max_effects_per_minute=per_minute, redis_url=redis_url)


async def test_a_minute_is_used_up_by_one_person_only() -> None:
    limits = Limits(2)
    for _ in range(2):
        await limits.take("ada")
    with pytest.raises(RateLimited, match="More than 2 changes"):
        await limits.take("ada")
    await limits.take("bob")


async def test_two_processes_share_a_minute_through_redis() -> None:
    with EmbeddedValkey() as url:
        both = limited(3, url)
        async with open_limits(both) as one, open_limits(both) as other:
            # A minute may turn in the middle; then the second one begins with what is left.
            refused = 0
            for _ in range(4):
                for limits in (one, other):
                    try:
                        await limits.take("ada")
                    except RateLimited:
                        refused += 1
    assert refused >= 2, "alone, each would allow three"


async def test_without_an_answer_from_redis_each_process_counts_for_itself() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        settings = limited(2, f"redis://127.0.0.1:{nobody.getsockname()[1]}")
        async with open_limits(settings) as limits:
            await limits.take("ada")
            await limits.take("ada")
            with pytest.raises(RateLimited):
                await limits.take("ada")
