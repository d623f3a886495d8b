from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ui.cli.terminal import Terminal


@pytest.fixture
def terminal(tmp_path: Path, database_url: str) -> Iterator[Terminal]:
    """Give a terminal over a fresh, migrated database."""
    home = tmp_path / "home"
    home.mkdir()
    yield Terminal(home, database_url)
