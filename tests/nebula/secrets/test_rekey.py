"""A change of keys: whole or not at all, and everything stays readable on the way."""

from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from cryptography.fernet import Fernet
from keyring.backend import KeyringBackend
from keyring.backends.fail import Keyring as NoKeyring
from keyring.errors import PasswordDeleteError
from sqlalchemy import text

from nebula.app import App
from nebula.db.engine import Database
from nebula.errors import Conflict, NebulaError, UpstreamUnavailable
from nebula.secrets.keys import KEY_FILE, KeyFile, Keyring, place_of
from nebula.secrets.rekey import rekey
from nebula.secrets.vault import Vault
from nebula.settings import Settings
from tests.nebula.secrets.conftest import VALUE

ADDRESS = "ntfys://user:pass-word-1@ntfy.test/topic"


@pytest.fixture
async def vault(lab: App, settings: Settings) -> Vault:
    """Seal something in every table that holds sealed columns."""
    vault = Vault.of(settings)
    async with lab.parts.db.session() as session:
        await session.execute(
            text(
                "INSERT INTO notify_channels (name, kind, sealed, target) VALUES ('a','b',:s,'c')"
            ),
            {"s": await vault.seal(ADDRESS)},
        )
    return vault


async def value(lab: App) -> str:
    return await lab.parts.secrets.open((await lab.parts.secrets.get("token")).version)


async def channel(lab: App, vault: Vault) -> str:
    async with lab.parts.db.session() as session:
        return await vault.open(
            (await session.execute(text("SELECT sealed FROM notify_channels"))).scalar_one()
        )


async def test_everything_is_sealed_anew_and_the_old_key_opens_nothing(
    lab: App, settings: Settings, vault: Vault
) -> None:
    await lab.parts.secrets.put("token", VALUE, by="ada", environment="staging")
    before = KeyFile(settings.home).read()
    done = await rekey(lab.parts.db, settings, wait_seconds=0)
    after = KeyFile(settings.home).read()
    assert len(after) == 1
    assert after != before
    assert done.values == 3
    assert done.columns == [
        "nodes.key_sealed",
        "notify_channels.sealed",
        "secrets_versions.sealed",
        "webhooks.previous_sealed",
        "webhooks.secret_sealed",
    ]
    assert await value(lab) == VALUE
    assert await channel(lab, vault) == ADDRESS
    prints = await lab.parts.secrets.fingerprints("staging")
    assert prints["token"] == await lab.parts.secrets.fingerprint(VALUE)
    KeyFile(settings.home).write(before)
    with pytest.raises(Conflict, match="cannot be opened"):
        await value(lab)


async def test_a_value_that_no_key_opens_stops_it_before_anything_changes(
    lab: App, settings: Settings, vault: Vault
) -> None:
    key = KeyFile(settings.home).read()
    async with lab.parts.db.session() as session:
        await session.execute(
            text("UPDATE notify_channels SET sealed = :s"),
            {"s": Fernet(Fernet.generate_key()).encrypt(b"x")},
        )
    with pytest.raises(Conflict, match="notify_channels cannot be opened"):
        await rekey(lab.parts.db, settings, wait_seconds=0)
    assert KeyFile(settings.home).read() == key
    assert await value(lab) == VALUE


async def test_a_crash_in_the_middle_leaves_everything_readable_and_the_next_run_completes_it(
    lab: App, settings: Settings, vault: Vault, database: Database
) -> None:
    async with database.session() as session:
        # The second table of three refuses the change: the database's part comes to nothing.
        await session.execute(
            text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'disk full'; END $$"
            )
        )
        await session.execute(
            text(
                "CREATE TRIGGER refuse BEFORE UPDATE ON secrets_versions "
                "FOR EACH ROW EXECUTE FUNCTION refuse()"
            )
        )
    with pytest.raises(Exception, match="disk full"):
        await rekey(lab.parts.db, settings, wait_seconds=0)
    assert len(KeyFile(settings.home).read()) == 2
    assert await value(lab) == VALUE
    assert await channel(lab, vault) == ADDRESS
    async with database.session() as session:
        await session.execute(text("DROP TRIGGER refuse ON secrets_versions"))
    await rekey(lab.parts.db, settings, wait_seconds=0)
    assert len(KeyFile(settings.home).read()) == 1
    assert await value(lab) == VALUE
    assert await channel(lab, vault) == ADDRESS


class InMemory(KeyringBackend):
    """A keyring that answers, in this process."""

    priority = -1  # type: ignore[assignment]  # only where a test sets it

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if self.kept.pop((service, username), None) is None:
            raise PasswordDeleteError


@pytest.fixture
def ring() -> Iterator[InMemory]:
    before, made = keyring.get_keyring(), InMemory()
    keyring.set_keyring(made)
    yield made
    keyring.set_keyring(before)


async def test_the_key_moves_to_the_keyring_and_back(
    lab: App, settings: Settings, vault: Vault, ring: InMemory
) -> None:
    moved = settings.model_copy(update={"secrets_key": "keyring"})
    with pytest.raises(Conflict, match=r"still in .*secrets\.key") as caught:
        await Vault.of(moved).seal("something-else-1")
    assert "rekey" in caught.value.hint
    await rekey(lab.parts.db, moved, wait_seconds=0)
    assert not (settings.home / KEY_FILE).exists()
    assert len(Keyring(settings.home).read()) == 1
    assert await channel(lab, Vault.of(moved)) == ADDRESS
    await rekey(lab.parts.db, settings, wait_seconds=0)
    assert ring.kept == {}
    assert await channel(lab, vault) == ADDRESS


async def test_without_a_keyring_the_error_says_what_to_do(tmp_path: Path) -> None:
    before = keyring.get_keyring()
    keyring.set_keyring(NoKeyring())
    try:
        with pytest.raises(UpstreamUnavailable, match="No keyring answers") as caught:
            await Vault(tmp_path, place_of(tmp_path, "keyring")).seal("x")
    finally:
        keyring.set_keyring(before)
    assert "JARVIS_SECRETS_KEY=file" in caught.value.hint
    assert isinstance(caught.value, NebulaError)


async def test_a_missing_key_is_not_replaced_by_opening_something(tmp_path: Path) -> None:
    sealed = await Vault(tmp_path / "a").seal("something")
    with pytest.raises(Conflict, match="cannot be opened"):
        await Vault(tmp_path / "b").open(sealed)
    assert not (tmp_path / "b").exists()
