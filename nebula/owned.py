"""What people own, call by a name, and let run by itself: found by that name, changed by them."""

from typing import Any, Protocol, TypeVar

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.principal import Caller, Principal, Surface
from nebula.db.base import Base
from nebula.errors import NotFound, PermissionDenied
from nebula.near import near

R = TypeVar("R", bound=Base)


class Owned(Protocol):
    """Whose something is."""

    name: Any
    owner_id: Any
    owner_name: Any


async def found(
    session: AsyncSession,
    model: type[R],
    principal: Principal,
    wanted: str,
    *,
    kind: str,
    lock: bool = False,
) -> R:
    """Return a row by its id or name, one's own first; `kind` is what people call it.

    Raises:
        NotFound: when there is none that the principal may see, with the nearest names.
    """
    columns: Any = model
    query = select(model).where((columns.id == wanted) | (columns.name == slug(wanted)))
    mine = columns.owner_id == principal.id
    if not principal.can(f"{kind}s:admin"):
        query = query.where(mine)
    query = query.order_by(mine.desc(), columns.created_at).limit(1)
    row = await session.scalar(query.with_for_update() if lock else query)
    if row is None:
        names = list(await session.scalars(select(columns.name).where(mine)))
        hint = near(slug(wanted), names) or f"Make one first, with {kind}s_create."
        raise NotFound(f"There is no {kind} {wanted!r}", hint=hint)
    return row


def slug(name: str) -> str:
    """Return a name as it is kept: "Morning report" is morning-report."""
    return "-".join(name.casefold().replace("_", " ").replace("-", " ").split())


def check_person(caller: Caller, kinds: str) -> None:
    """Raise PermissionDenied when what runs by itself would make or change such a thing."""
    if caller.surface is Surface.SCHEDULE:
        raise PermissionDenied(
            f"{kinds} are made and changed by people, not by what runs by itself."
        )


def check_owner(row: Owned, principal: Principal) -> None:
    """Raise PermissionDenied when it is somebody else's."""
    if row.owner_id != principal.id:
        raise PermissionDenied(
            f"{row.name} acts for {row.owner_name}, who alone may change it.",
            hint="You may pause or delete it.",
        )
