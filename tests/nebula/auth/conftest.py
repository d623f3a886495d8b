import pytest
from argon2 import PasswordHasher

from nebula.auth.passwords import Passwords
from nebula.auth.service import Auth
from nebula.auth.settings import AuthSettings
from nebula.db.engine import Database
from nebula.settings import Settings

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
def auth(database: Database, settings: Settings) -> Auth:
    return Auth(database, settings, limits=AuthSettings(), passwords=Passwords(CHEAP))
