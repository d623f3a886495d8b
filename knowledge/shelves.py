"""What is on the shelves: listing and forgetting documents, under the reader's rights."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import ColumnElement, delete, false, func, or_, select, true

from knowledge.document import display_name
from knowledge.models import Collection, Document
from nebula.auth.principal import Principal, Role
from nebula.errors import Conflict, NotFound, PermissionDenied
from nebula.policy.labels import Label

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from nebula.db.engine import Database


class Listed(BaseModel):
    """A document as a list shows it."""

    id: str
    title: str
    source: str
    kind: str
    collection: str
    passages: int
    visibility: str
    owner: str
    updated_at: datetime


def readable(who: Principal) -> ColumnElement[bool]:
    """Return the condition that `Search` applies: own, everyone's, and the role's documents."""
    sees_roles = true() if who.role is Role.ADMIN else false()
    return or_(
        Document.owner == who.id,
        Document.visibility == "everyone",
        (Document.visibility == "role") & or_(Document.role == who.role.value, sees_roles),
    )


async def list_documents(
    db: "Database",
    who: Principal,
    *,
    collection: str | None = None,
    containing: str | None = None,
    limit: int = 50,
    offset: int = 0,
) -> tuple[list[Listed], int]:
    """Return readable documents, newest first, and how many there are in all.

    The product's manual is left out unless its collection is asked for.
    """
    conditions = [readable(who)]
    if collection is None:
        conditions.append(Document.label != Label.SYSTEM.value)
    else:
        conditions.append(Collection.name == collection)
    if containing:
        conditions.append(_mentions(containing))
    query = select(Document, Collection.name).join(Collection).where(*conditions)
    async with db.session() as session:
        counted = await session.scalar(select(func.count()).select_from(query.subquery()))
        rows = await session.execute(
            query.order_by(Document.updated_at.desc(), Document.id).limit(limit).offset(offset)
        )
        return [_listed(document, name) for document, name in rows], counted or 0


async def forget(db: "Database", who: Principal, named: str) -> list[str]:
    """Remove the document, folder or repository that `named` means; return what is gone.

    `named` is a document's id, its source, its title or file name, or the folder, repository or
    address it was added from.

    Raises:
        NotFound: when nothing readable is called that.
        Conflict: when it could mean several things.
        PermissionDenied: when it belongs to someone else.
    """
    async with db.session() as session:
        rows = await _meant(session, who, named)
        await session.execute(delete(Document).where(Document.id.in_([row.id for row in rows])))
        return [row.source for row in rows]


async def meant(db: "Database", who: Principal, named: str) -> Sequence[Document]:
    """Return what `forget` would remove, and change nothing; it raises the same."""
    async with db.session() as session:
        return await _meant(session, who, named)


async def _meant(session: "AsyncSession", who: Principal, named: str) -> list[Document]:
    rows = await _called(session, who, named)
    if not rows:
        raise NotFound(
            f"Nothing in knowledge is called {named!r}", hint="List knowledge to see names."
        )
    if any(row.label == Label.SYSTEM for row in rows):
        raise PermissionDenied("The product's manual stays: it belongs to this version")
    if who.can("knowledge:admin") is False:
        own = [row for row in rows if row.owner == who.id]
        if not own:
            raise PermissionDenied(f"{rows[0].title!r} belongs to {rows[0].owner_name}")
        rows = own
    if len(rows) > 1 and not _one_thing(rows, named):
        options = ", ".join(f"{row.source} ({row.id})" for row in rows[:10])
        raise Conflict(f"{named!r} could mean {options}", hint="Give the id of one.")
    return rows


def _mentions(words: str) -> ColumnElement[bool]:
    return or_(
        Document.source.icontains(words, autoescape=True),
        Document.title.icontains(words, autoescape=True),
    )


async def _called(session: "AsyncSession", who: Principal, named: str) -> list[Document]:
    """Return what is called that exactly; only when nothing is, what mentions it in its name."""
    identifier = _uuid(named)
    if identifier is not None:
        exact: ColumnElement[bool] = Document.id == identifier
    else:
        from_name = named.rstrip("/")
        exact = or_(
            Document.source == named,
            Document.added_from.in_([named, from_name]),
            func.lower(Document.title) == named.lower(),
        )
    found = await session.scalars(select(Document).where(readable(who), exact))
    rows = list(found)
    if rows or identifier is not None:
        return rows
    close = await session.scalars(
        select(Document).where(readable(who), _mentions(named)).order_by(Document.source).limit(500)
    )
    rows = list(close)
    return [row for row in rows if display_name(row.source).lower() == named.lower()] or rows


def _one_thing(rows: list[Document], named: str) -> bool:
    """Say whether all rows came with the one folder or repository that was named."""
    return {row.added_from for row in rows} <= {named, named.rstrip("/")}


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _listed(document: Document, collection: str) -> Listed:
    return Listed(
        id=str(document.id),
        title=document.title,
        source=document.source,
        kind=document.kind,
        collection=collection,
        passages=document.chunks,
        visibility=document.visibility,
        owner=document.owner_name,
        updated_at=document.updated_at,
    )
