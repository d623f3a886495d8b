"""Secrets at rest."""

import asyncio
import stat
from pathlib import Path

import pytest

from nebula.errors import Conflict
from nebula.secrets.vault import KEY_FILE, Vault


async def test_a_secret_comes_back_and_is_not_readable_in_between(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    sealed = await vault.seal("discord://123/token-ü")
    assert b"token" not in sealed
    assert sealed != await vault.seal("discord://123/token-ü")
    assert await Vault(tmp_path).open(sealed) == "discord://123/token-ü"


async def test_the_key_is_for_its_owner_only_even_when_it_was_opened_up(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "home")
    sealed = await vault.seal("x")
    key = tmp_path / "home" / KEY_FILE
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.chmod(0o644)
    assert await vault.open(sealed) == "x"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [path.name for path in key.parent.iterdir()] == [KEY_FILE]


async def test_many_first_users_agree_on_one_key(tmp_path: Path) -> None:
    sealed = await asyncio.gather(*(Vault(tmp_path).seal(str(n)) for n in range(20)))
    opened = await asyncio.gather(*(Vault(tmp_path).open(each) for each in sealed))
    assert opened == [str(n) for n in range(20)]


async def test_another_key_or_damage_is_a_conflict_and_never_overwrites_the_key(
    tmp_path: Path,
) -> None:
    sealed = await Vault(tmp_path / "a").seal("x")
    with pytest.raises(Conflict, match="cannot be opened"):
        await Vault(tmp_path / "b").open(sealed)
    with pytest.raises(Conflict, match="cannot be opened"):
        await Vault(tmp_path / "a").open(sealed[:-4] + b"AAAA")
    (tmp_path / "a" / KEY_FILE).write_bytes(b"not a key")
    with pytest.raises(Conflict, match="does not hold a key"):
        await Vault(tmp_path / "a").open(sealed)
    assert (tmp_path / "a" / KEY_FILE).read_bytes() == b"not a key"
