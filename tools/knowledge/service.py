"""Adds what a source holds, document by document, and says what became of each."""

from typing import TYPE_CHECKING

from knowledge.document import display_name
from knowledge.library import Added, Library, Progress, Shelf, Visibility
from knowledge.manual import COLLECTION as MANUAL
from knowledge.settings import KnowledgeSettings
from knowledge.sources import Batch, Refused, SourceKind, Sources
from nebula.errors import InvalidInput, NebulaError
from tools.knowledge.schemas import AddReport, FileOutcome

if TYPE_CHECKING:
    from nebula.tool.context import Context


async def add(
    ctx: "Context",
    source: str,
    kind: SourceKind | None,
    collection: str,
    visibility: Visibility | None,
) -> AddReport:
    """Read a source and put its documents on the person's shelf.

    Raises:
        NebulaError: when the source as a whole cannot be read, or its only document cannot.
    """
    if collection == MANUAL:
        raise InvalidInput(
            "The collection 'manual' holds the product's manual only",
            hint="Choose another name.",
        )
    shelf = Shelf(
        collection=collection,
        owner=ctx.principal.id,
        owner_name=ctx.principal.name,
        role=ctx.principal.role.value,
        visibility=visibility,
    )
    sources = Sources(
        ctx.settings(KnowledgeSettings),
        ctx.parts.settings.home,
        ctx.parts.fetch,
        allow_private=ctx.parts.settings.allow_private_fetch,
    )
    await ctx.progress(0.0, f"Reading {display_name(source)}")
    async with sources.open(source, kind) as batch:
        return await _add_batch(ctx, batch, shelf)


async def _add_batch(ctx: "Context", batch: Batch, shelf: Shelf) -> AddReport:
    library = Library(ctx.parts.db, ctx.parts.embedder)
    # What left a folder goes first: a file that was only renamed is then no duplicate of itself.
    is_tree = batch.kind in {SourceKind.FOLDER, SourceKind.REPOSITORY}
    removed = await library.drop_missing(shelf, batch.source, batch.names) if is_tree else 0
    outcomes: list[FileOutcome] = []
    async for document in batch.documents:
        tell = _teller(ctx, document.source, len(outcomes), len(batch.names))
        if isinstance(document, Refused):
            outcomes.append(_failed(document.source, document.error))
            continue
        await tell(0.0)
        try:
            added = await library.add(document, shelf, added_from=batch.source, progress=tell)
        except NebulaError as error:
            if not is_tree:
                raise
            outcomes.append(_failed(document.source, error))
        else:
            outcomes.append(_outcome(document.source, added))
    return AddReport(
        source=batch.source,
        kind=batch.kind.value,
        collection=shelf.collection,
        files=outcomes,
        skipped=batch.skipped,
        removed=removed,
    )


def _teller(ctx: "Context", source: str, done: int, total: int) -> Progress:
    async def tell(fraction: float) -> None:
        await ctx.progress((done + fraction) / total, f"Learning {display_name(source)}")

    return tell


def _outcome(source: str, added: Added) -> FileOutcome:
    return FileOutcome(
        source=source, status=added.fate.value, passages=added.chunks, detail=added.same_as
    )


def _failed(source: str, error: NebulaError) -> FileOutcome:
    return FileOutcome(
        source=source, status="failed", code=error.code, detail=str(error), hint=error.hint
    )
