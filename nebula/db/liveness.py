"""Notices connections that the server closed while they lay in the pool, without asking it.

SQLAlchemy's `pool_pre_ping` asks the server on every checkout: three round trips, more than most
of our statements cost. A connection at rest has nothing to read; one that the server closed has.
"""

import select
from typing import Any

from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine


def drop_closed_connections(engine: AsyncEngine) -> None:
    """Make the engine's pool replace a connection that has been closed under it."""
    event.listen(engine.sync_engine.pool, "checkout", _check)


def _check(dbapi_connection: Any, _record: Any, _proxy: Any) -> None:
    driver = dbapi_connection.driver_connection
    if driver.closed or has_something_to_read(driver.fileno()):
        raise DisconnectionError


def has_something_to_read(descriptor: int) -> bool:
    """Say whether a connection at rest has something to read: that the server closed it."""
    if not hasattr(select, "poll"):  # Windows, where descriptors are not limited to 1,024 either
        return bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))
