"""The product's manual: indexed at first start, kept at this version, found in plain words."""

import asyncio
import re

import pytest
from sqlalchemy import func, select

from knowledge.answer import passages
from knowledge.manual import FOLDER, index_manual
from knowledge.models import ChunkRow, Document
from knowledge.search import Filters


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


QUESTIONS = {
    "how do I connect ComfyUI?": "connect-comfyui.md › How do I connect ComfyUI?",
    "connect ComfyUI": "connect-comfyui.md › How do I connect ComfyUI?",
    "how do I connect Ollama": "connect-ollama.md › How do I connect Ollama?",
    "who can see my documents": "knowledge.md › Who can see what I add?",
    "how long is an approval valid": "approvals.md › How long does an approval wait?",
    "set up discord notifications": "notifications.md › How do I set up Discord notifications?",
    "move to a new computer": "backup.md › How do I move Jarvis to another machine?",
    "port already in use": "troubleshooting.md › Jarvis does not start: the port is taken",
    "add another machine": "nodes.md › How do I add a machine?",
    "claude desktop": "mcp.md › How do I connect Claude Desktop or an IDE?",
    "how do I bake bread": None,
    "quarterly revenue of shipping companies": None,
}


async def test_plain_questions_are_answered_by_the_section_that_answers_them(
    database, embedder, search, person
):
    await index_manual(database, embedder, FOLDER)
    told = {}
    for question in QUESTIONS:
        found, _ = await passages(search, question, person("ann"), filters=Filters(), limit=3)
        told[question] = found[0].citation if found else None
    assert told == QUESTIONS


def test_the_first_page_names_every_page():
    named = set(re.findall(r"`([a-z-]+\.md)`", (FOLDER / "index.md").read_text("utf-8")))
    assert named == {path.name for path in FOLDER.glob("*.md")} - {"index.md"}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.md")), ids=lambda path: path.name)
def test_every_page_begins_with_its_title_and_has_sections(path):
    text = path.read_text("utf-8")
    assert text.startswith("# ")
    assert text.count("\n## ") >= 2
