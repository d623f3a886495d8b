"""A log of a few lines, anchored, over a real database."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from nebula.db.engine import Database
from nebula.settings import Settings
from nebula.tool.audit.anchoring import Anchoring
from nebula.tool.audit.log import Audit
from nebula.tool.audit.verify import AuditReport, verify

LINE = {
    "principal": "ada",
    "surface": "rest",
    "tool": "gpu_switch",
    "call_id": "c",
    "outcome": "ok",
}
Write = Callable[[int], Awaitable[None]]


@pytest.fixture
def audit(database: Database) -> Audit:
    return Audit(database)


@pytest.fixture
def write(audit: Audit, database: Database) -> Write:
    """Give a function that writes so many lines."""

    async def some(count: int) -> None:
        for n in range(count):
            async with database.session() as session:
                await audit.append(session, {**LINE, "call_id": f"c{n}"})

    return some


@pytest.fixture
def anchors(tmp_path: Path) -> Path:
    return tmp_path / "anchors.jsonl"


@pytest.fixture
def keeper(database: Database, audit: Audit, settings: Settings, anchors: Path) -> Anchoring:
    return Anchoring(database, audit, settings.model_copy(update={"audit_anchor_file": anchors}))


@pytest.fixture
def verified(database: Database, anchors: Path) -> Callable[[], Awaitable[AuditReport]]:
    async def look() -> AuditReport:
        return await verify(database, anchors)

    return look
