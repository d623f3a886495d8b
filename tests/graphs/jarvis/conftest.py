"""Every turn begins with nothing done and the gate shut."""

import asyncio

import pytest

from tests.graphs.lab import DONE, GATE


@pytest.fixture(autouse=True)
async def _fresh() -> None:
    DONE.clear()
    GATE.event = asyncio.Event()
