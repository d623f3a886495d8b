"""The product's manual: always in knowledge, always this version's."""

import asyncio
from collections.abc import Set
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from knowledge.library import Fate, Library, Shelf, Visibility
from knowledge.load.read import Limits, read
from knowledge.models import Document
from nebula.policy.labels import Label

if TYPE_CHECKING:
    from nebula.app import Parts
    from nebula.db.engine import Database
    from nebula.llm.embedding import Embedder

COLLECTION = "manual"
OWNER = "system"
FOLDER = Path(__file__).parent / "docs"

LIMITS = Limits(max_characters=1_000_000, max_pages=0, max_unpacked=0)
_SHELF = Shelf(
    collection=COLLECTION,
    owner=OWNER,
    owner_name="Nebula Command",
    role="",
    visibility=Visibility.EVERYONE,
    label=Label.SYSTEM,
)


async def ensure_manual(parts: "Parts") -> int:
    """Bring the manual in knowledge up to the files of this version; return how many changed.

    Pages that did not change cost one look each, so every start may call this.
    """
    return await index_manual(parts.db, parts.embedder, FOLDER)


async def manual_there(parts: "Parts") -> None:
    """Make sure that every page can be found, when starting has not got that far yet.

    A command in the terminal may be the first thing that ever runs on a data folder.
    """
    if not parts.settings.warm_start:
        return
    names = await asyncio.to_thread(lambda: {path.name for path in FOLDER.glob("*.md")})
    if not names <= (await _known(parts.db)).keys():
        await ensure_manual(parts)


async def index_manual(db: "Database", embedder: "Embedder", folder: Path) -> int:
    """Index the pages of a folder as the manual, and drop pages that are gone."""
    library = Library(db, embedder)
    pages = await asyncio.to_thread(_pages, folder)
    known = await _known(db)
    changed = 0
    for name, body in pages.items():
        page = await asyncio.to_thread(read, body, "markdown", name, LIMITS)
        if known.get(name) != page.content_hash:
            added = await library.add(page, _SHELF, added_from=COLLECTION)
            changed += added.fate is not Fate.UNCHANGED
    gone = known.keys() - pages.keys()
    if gone:
        await _drop(db, gone)
    return changed + len(gone)


def _pages(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.md"))}


async def _known(db: "Database") -> dict[str, str]:
    async with db.session() as session:
        rows = await session.execute(
            select(Document.source, Document.content_hash).where(Document.owner == OWNER)
        )
        return {row.source: row.content_hash for row in rows}


async def _drop(db: "Database", names: Set[str]) -> None:
    async with db.session() as session:
        await session.execute(
            delete(Document).where(Document.owner == OWNER, Document.source.in_(names))
        )
