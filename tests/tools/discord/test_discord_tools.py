"""Linking an account and a server's settings, through the executor and the tables behind it."""

import asyncio
from uuid import uuid4

import pytest
from sqlalchemy import text

from nebula.auth.principal import Caller, Surface
from nebula.errors import InvalidInput, NotAuthenticated, NotFound, PermissionDenied
from nebula.tool.render import to_markdown
from tools.discord.accounts import Accounts
from tools.discord.servers import Servers


@pytest.fixture
def run(app):
    async def run(who, tool, /, **arguments):
        caller = Caller(who, Surface.CHAT)
        return await app.executor.execute(tool, arguments, caller=caller, call_id=uuid4().hex)

    return run


@pytest.fixture
def accounts(app) -> Accounts:
    return Accounts(app.parts.db, app.parts.auth, app.parts.audit)


async def test_discord_link_gives_a_code_that_links_once(run, accounts, viewer):
    made = await run(viewer, "discord_link")
    assert f"/link {made.code}" in to_markdown(made.render())

    with pytest.raises(NotAuthenticated):
        await accounts.principal("1")
    linked = await accounts.link(f" {made.code[:5].lower()}-{made.code[5:]} ", "1", "ann")
    assert linked.id == viewer.id
    assert (await accounts.principal("1")).id == viewer.id
    with pytest.raises(InvalidInput, match="not valid"):
        await accounts.link(made.code, "2", "mallory")


async def test_of_many_who_use_a_code_at_once_one_is_linked(accounts, viewer):
    code, _ = await accounts.new_code(viewer.id)
    tries = (accounts.link(code, str(n), f"n{n}") for n in range(8))
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(not isinstance(each, Exception) for each in results) == 1
    assert len(await accounts.of_user(viewer.id)) == 1


async def test_a_code_is_kept_hashed_and_ends_by_itself_and_by_the_next_one(
    accounts, viewer, database
):
    first, _ = await accounts.new_code(viewer.id)
    async with database.session() as s:
        kept = list(await s.scalars(text("SELECT code_hash FROM discord_codes")))
    assert len(kept) == 1
    assert first not in kept[0]
    second, _ = await accounts.new_code(viewer.id)
    with pytest.raises(InvalidInput):
        await accounts.link(first, "1", "ann")
    async with database.session() as s:
        await s.execute(text("UPDATE discord_codes SET expires_at = now()"))
    with pytest.raises(InvalidInput):
        await accounts.link(second, "1", "ann")


async def test_a_link_is_in_the_audit_log(accounts, viewer, app):
    code, _ = await accounts.new_code(viewer.id)
    await accounts.link(code, "77", "ann")
    lines = await app.parts.audit.search()
    linked = next(line for line in lines if line.tool == "discord_link")
    assert (linked.principal, linked.surface) == (viewer.name, "discord")
    assert linked.detail["linked"]["discord_id"] == "77"


async def test_an_account_of_a_disabled_person_stands_for_nobody(app, accounts, viewer):
    code, _ = await accounts.new_code(viewer.id)
    await accounts.link(code, "1", "ann")
    await app.parts.auth.people.update(viewer.id, enabled=False)
    with pytest.raises(NotAuthenticated):
        await accounts.principal("1")


async def test_discord_unlink_cuts_off_ones_own_accounts_only(run, accounts, viewer, developer):
    for number, who in enumerate((viewer, developer)):
        code, _ = await accounts.new_code(who.id)
        await accounts.link(code, str(number), who.name)
    assert (await run(viewer, "discord_unlink")).accounts == 1
    with pytest.raises(NotAuthenticated):
        await accounts.principal("0")
    assert (await accounts.principal("1")).id == developer.id


async def test_discord_set_settings_keeps_what_is_not_named(run, app, admin):
    servers = Servers(app.parts.db)
    await servers.joined("5", "The Lab")
    await run(admin, "discord_set_settings", channels=["11"], roles=["22"])
    await run(admin, "discord_set_settings", server="the lab", answer_in="reply", channels=[])
    found = (await run(admin, "discord_get_settings", server="5")).server
    assert (found.channels, found.roles, found.answer_in) == ([], ["22"], "reply")
    listed = await run(admin, "discord_list_servers")
    assert [server.name for server in listed.servers] == ["The Lab"]
    assert "is off" in to_markdown(listed.render())


async def test_settings_are_for_administrators_and_for_servers_there_are(run, app, admin, viewer):
    with pytest.raises(NotFound, match="no server"):
        await run(admin, "discord_set_settings", enabled=False)
    servers = Servers(app.parts.db)
    await servers.joined("5", "one")
    await servers.joined("6", "two")
    with pytest.raises(InvalidInput, match="which server"):
        await run(admin, "discord_set_settings", enabled=False)
    with pytest.raises(InvalidInput, match="what to set"):
        await run(admin, "discord_set_settings", server="one")
    with pytest.raises(PermissionDenied):
        await run(viewer, "discord_set_settings", server="one", enabled=False)
    await servers.left("6")
    assert (await run(admin, "discord_get_settings")).server.name == "one"
