"""What a heartbeat tells a node: the leases of its cards that hold now, by the database's clock."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.gpu.leases.models import CardRow, LeaseRow
from node.protocol import Renewal


async def live_leases(session: AsyncSession, node: str) -> Sequence[Renewal]:
    """Return the leases of a node that are active and have time left."""
    left = func.extract("epoch", LeaseRow.expires_at - func.clock_timestamp())
    query = (
        select(CardRow.gpu, LeaseRow.token, left)
        .join(CardRow, CardRow.id == LeaseRow.card)
        .where(CardRow.node == node, LeaseRow.state == "active", left > 0)
    )
    found = (await session.execute(query)).all()
    return [Renewal(gpu=gpu, token=token, seconds=float(seconds)) for gpu, token, seconds in found]
