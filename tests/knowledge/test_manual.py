"""The product's manual: indexed at first start, kept at this version, found in plain words."""

import asyncio

import pytest
from sqlalchemy import func, select

from knowledge.manual import FOLDER, index_manual, manual_kept
from knowledge.models import ChunkRow, Document


async def titles(database):
    async with database.session() as session:
        return sorted(await session.scalars(select(Document.source)))


async def test_the_manual_follows_its_files(database, embedder, tmp_path):
    (tmp_path / "a.md").write_text("# A\n\nAlpha.")
    (tmp_path / "b.md").write_text("# B\n\nBeta.")
    assert await index_manual(database, embedder, tmp_path) == 2
    assert await index_manual(database, embedder, tmp_path) == 0

    (tmp_path / "a.md").write_text("# A\n\nChanged.")
    (tmp_path / "b.md").unlink()
    assert await index_manual(database, embedder, tmp_path) == 2
    assert await titles(database) == ["a.md"]


async def test_two_processes_that_start_at_once_index_the_manual_once(database, embedder, tmp_path):
    for n in range(4):
        (tmp_path / f"{n}.md").write_text(f"# {n}\n\nPage {n}.")
    await asyncio.gather(*(index_manual(database, embedder, tmp_path) for _ in range(3)))
    assert len(await titles(database)) == 4
    async with database.session() as session:
        assert await session.scalar(select(func.count(ChunkRow.id))) == 4


async def test_the_manual_comes_in_the_background_of_a_running_server(app, monkeypatch):
    monkeypatch.setenv("JARVIS_KNOWLEDGE_MANUAL", "true")
    async with manual_kept(app.parts):
        async with asyncio.timeout(60):
            while len(await titles(app.parts.db)) < len(list(FOLDER.glob("*.md"))):
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.md")), ids=lambda path: path.name)
def test_every_page_begins_with_its_title_and_has_sections(path):
    text = path.read_text("utf-8")
    assert text.startswith("# ")
    assert text.count("\n## ") >= 2
