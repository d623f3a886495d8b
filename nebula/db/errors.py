"""Translates what PostgreSQL and its driver raise, for the whole program."""

from psycopg import DataError, InterfaceError, OperationalError
from psycopg import Error as DriverError
from sqlalchemy.exc import DBAPIError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from nebula.errors import Conflict, InvalidInput, NebulaError, TimedOut, UpstreamUnavailable

_DOWN_HINT = "It is tried again by itself; 'jarvis doctor' says what is wrong."
# SQLSTATE classes: connection exception, insufficient resources, operator intervention.
_DOWN = ("08", "53", "57P")
# What SQLAlchemy's pool raises when every connection it makes is closed before it is handed out.
_GAVE_UP = "This connection is closed"
_STATEMENT_CANCELLED = "57014"
_LOCK_NOT_AVAILABLE = "55P03"
_COLLISIONS = ("40001", "40P01")


def translated(error: SQLAlchemyError | DriverError) -> NebulaError | None:
    """Return the error a caller may see, or None when it is a bug of ours."""
    if isinstance(error, PoolExhausted):
        return UpstreamUnavailable("The database is busy: every connection is in use")
    if isinstance(error, InvalidRequestError) and str(error).startswith(_GAVE_UP):
        return UpstreamUnavailable("The database does not answer", hint=_DOWN_HINT)
    driver = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(driver, DriverError):
        return None
    if connection_lost(error):
        return UpstreamUnavailable("The database does not answer", hint=_DOWN_HINT)
    if isinstance(driver, DataError):
        return InvalidInput(
            "A value cannot be stored",
            hint="It is too large, or text that holds a NUL character.",
        )
    return _by_state(driver.sqlstate or "")


def _by_state(state: str) -> NebulaError | None:
    if state == _STATEMENT_CANCELLED:
        return TimedOut("The database took too long to answer")
    if state == _LOCK_NOT_AVAILABLE:
        return TimedOut("Another change held the database for too long")
    if state in _COLLISIONS:
        return Conflict("Two changes collided in the database", hint="Try again.")
    if state.startswith(_DOWN):
        return UpstreamUnavailable("The database does not answer", hint=_DOWN_HINT)
    return None


def connection_lost(error: SQLAlchemyError | DriverError) -> bool:
    """Say whether the connection broke, so that what was under way may or may not have happened."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        error = error.orig if isinstance(error.orig, DriverError) else DriverError()
    return isinstance(error, OperationalError | InterfaceError) and error.sqlstate is None
