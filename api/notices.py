"""What stands still until its owner does something, beside the questions that wait for them."""

from nebula.auth.principal import Principal
from nebula.db.engine import Database
from nebula.notice import Notice
from tools.agents import attention
from tools.workflows import notices


async def notices_of(db: Database, principal: Principal) -> list[Notice]:
    """Return what of a person's own stands still, as far as they may see it."""
    found: list[Notice] = []
    if principal.can("agents:read"):
        found += await attention.standing_still(db, principal.id)
    if principal.can("workflows:read"):
        found += await notices.standing_still(db, principal.id)
    return found
