from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.database import TestServer
from tests.ui.cli.terminal import Terminal


@pytest.fixture
def terminal(tmp_path: Path, database_url: str, postgres: TestServer) -> Iterator[Terminal]:
    """Give a terminal over a fresh, migrated database."""
    home = tmp_path / "home"
    home.mkdir()
    yield Terminal(home, postgres.as_app(database_url), {"DATABASE_OWNER_URL": database_url})
