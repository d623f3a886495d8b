"""Stored secrets: versions, names, and what is kept of the past."""

import asyncio

import pytest
from sqlalchemy import text

from nebula.app import App
from nebula.errors import Conflict, InvalidInput, NotFound
from tests.nebula.secrets.conftest import VALUE


async def opened(lab: App, name: str = "token", environment: str = "default") -> str:
    secret = await lab.parts.secrets.get(name, environment=environment)
    return await lab.parts.secrets.open(secret.version)


async def test_a_new_version_keeps_the_one_before_and_shreds_older_ones(lab: App) -> None:
    secrets = lab.parts.secrets
    first = await secrets.get("token")
    second = await secrets.put("TOKEN", "second-value-22", by="bob", note="for tests")
    assert (second.previous, second.set_by, second.note) == (first.version, "bob", "for tests")
    third = await secrets.put("token", "third-value-333", by="ada")
    assert (third.previous, third.note) == (second.version, "for tests")
    with pytest.raises(Conflict, match="changed or deleted"):
        await secrets.open(first.version)
    async with lab.parts.db.session() as session:
        count = await session.scalar(text("SELECT count(*) FROM secrets_versions"))
    assert count == 2
    back = await secrets.restore("token")
    assert (back.version, back.previous) == (second.version, third.version)
    assert await opened(lab) == "second-value-22"
    assert (await secrets.restore("token")).version == third.version
    assert await opened(lab) == "third-value-333"


async def test_environments_are_apart_and_a_deleted_secret_leaves_nothing(lab: App) -> None:
    secrets = lab.parts.secrets
    await secrets.put("token", "staging-value-1", by="ada", environment="Staging")
    assert await opened(lab, environment="staging") == "staging-value-1"
    assert await opened(lab) == VALUE
    assert [s.reference for s in await secrets.all()] == [
        "secret://token",
        "secret://staging/token",
    ]
    assert [s.environment for s in await secrets.all("staging")] == ["staging"]
    await secrets.remove("token", environment="staging")
    with pytest.raises(NotFound):
        await secrets.get("token", environment="staging")
    async with lab.parts.db.session() as session:
        left = await session.scalar(
            text("SELECT count(*) FROM secrets_versions WHERE environment = 'staging'")
        )
    assert left == 0
    with pytest.raises(NotFound):
        await secrets.remove("token", environment="staging")
    with pytest.raises(Conflict, match="no earlier version"):
        await secrets.restore("token")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("short-7", "fewer than 8"),
        ("       x      ", "fewer than 8"),
        ("aaaabbbbcccc", "four different"),
        ("production", "letters or of digits alone"),
        ("12345678901", "letters or of digits alone"),
        ("nul\x00in-the-middle", "NUL"),
        ("x" * 8000 + "yz1" * 8000, "longer than"),
    ],
)
async def test_a_value_that_ordinary_text_may_hold_is_refused(
    lab: App, value: str, why: str
) -> None:
    with pytest.raises(InvalidInput, match=why) as caught:
        await lab.parts.secrets.put("other", value, by="ada")
    assert value not in str(caught.value)
    with pytest.raises(NotFound):
        await lab.parts.secrets.get("other")


@pytest.mark.parametrize("name", ["", "1st", "a b", "a/b", "ä", "x" * 65, "a!2", "a\n"])
async def test_a_name_that_no_reference_could_hold_is_refused(lab: App, name: str) -> None:
    with pytest.raises(InvalidInput, match="not a name"):
        await lab.parts.secrets.put(name, "some-value-123", by="ada")


async def test_setting_one_secret_from_many_sides_keeps_two_whole_versions(lab: App) -> None:
    secrets = lab.parts.secrets
    values = [f"value-number-{n:02}" for n in range(8)]
    await asyncio.gather(*(secrets.put("token", value, by="ada") for value in values))
    kept = await secrets.get("token")
    assert kept.previous is not None
    assert {await secrets.open(kept.version), await secrets.open(kept.previous)} < set(values)


async def test_values_are_compared_without_opening_them(lab: App) -> None:
    secrets = lab.parts.secrets
    await secrets.put("token", VALUE, by="ada", environment="staging")
    prints = await secrets.fingerprints("default")
    assert prints == await secrets.fingerprints("STAGING")
    assert prints["token"] == await secrets.fingerprint(VALUE)
    assert prints["token"] != await secrets.fingerprint(VALUE + "x")
