"""What the tests of machines share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nebula.settings import Settings
from tests.tools.nodes.lab import Lab, open_lab


@pytest.fixture
async def lab(settings: Settings, tmp_path: Path) -> AsyncIterator[Lab]:
    async with open_lab(settings, tmp_path / "machines") as opened:
        yield opened
