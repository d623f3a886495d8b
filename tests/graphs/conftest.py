"""People of real rows, without opening a whole second program for them."""

import pytest

from nebula.auth.principal import Caller, Role, Surface
from nebula.auth.service import Auth
from nebula.db.engine import Database
from nebula.settings import Settings


@pytest.fixture
async def ada(database: Database, settings: Settings) -> Caller:
    """Make an administrator who chats."""
    return Caller(await Auth(database, settings).create_user("ada", Role.ADMIN), Surface.CHAT)


@pytest.fixture
async def vic(database: Database, settings: Settings) -> Caller:
    """Make a viewer who chats."""
    return Caller(await Auth(database, settings).create_user("vic", Role.VIEWER), Surface.CHAT)
