"""Who is let in: linked accounts, the server's lists, so much in a minute, and nobody else."""

import asyncio

import pytest

from nebula.auth.principal import Role
from tests.fakes.discord.payloads import GENERAL, GUILD, QUIET
from tests.graphs.lab import DONE, GATE, call, calls
from tests.ui.discord.house import House, configured
from tools.discord.servers import Servers

pytestmark = pytest.mark.asyncio(loop_scope="module")


def whispered(home: House) -> str:
    return home.discord.whispers[-1][1] if home.discord.whispers else ""


async def test_a_stranger_is_told_how_to_link_once_and_nothing_runs(home: House) -> None:
    eve = home.stranger("eve")
    await eve.says("light all the lamps right now")
    await home.answer(eve.dm, "/discord_link")
    await eve.says("light them I said please now")
    ann = await home.person()
    home.says("Fence.")
    await ann.says("are all the others quiet now")
    await home.answer(ann.dm, "Fence.")
    assert len(home.discord.by_bot(eve.dm)) == 1
    assert DONE == []


async def test_a_code_in_a_direct_message_links(home: House) -> None:
    new = home.stranger("newcomer")
    principal = await home.app.parts.auth.create_user("newcomer", Role.DEVELOPER)
    code, _ = await home.accounts.new_code(principal.id)
    await new.says(f"/link {code}")
    await home.answer(new.dm, "Linked: here you are `newcomer`")
    home.says("Welcome.")
    await new.says("hello and good day to you")
    await home.answer(new.dm, "Welcome.")
    await home.stranger("thief").says(f"link {code}")
    await home.discord.until(lambda: any("not valid" in s.text for s in home.discord.by_bot()))


async def test_a_code_given_as_a_command_is_answered_to_its_giver_alone(home: House) -> None:
    new = home.stranger("second")
    principal = await home.app.parts.auth.create_user("second", Role.VIEWER)
    code, _ = await home.accounts.new_code(principal.id)
    before = len(home.discord.by_bot())
    await new.slash("link", channel_id=GENERAL, code=code)
    await home.discord.until(lambda: "Linked" in whispered(home))
    assert len(home.discord.by_bot()) == before
    assert (await home.accounts.principal(new.id)).id == principal.id


async def test_codes_cannot_be_guessed_quickly(home: House) -> None:
    eve = home.stranger("guesser")
    for n in range(8):
        await eve.slash("link", code=f"AAAAAAAA{n}{n}")
    await home.discord.until(lambda: sum("minute" in text for _, text in home.discord.whispers))
    tries = [text for _, text in home.discord.whispers if "not valid" in text]
    assert len(tries) <= 5


async def test_channel_and_role_lists_hold_for_messages_commands_and_silence(home: House) -> None:
    servers = Servers(home.app.parts.db)
    crew, other = await home.person(roles=["400"]), await home.person()
    await servers.change(GUILD, {"channels": [QUIET], "roles": ["400"], "answer_in": "reply"})
    try:
        home.says("For the crew.")
        await crew.mentions("hello from the wrong channel here", GENERAL)
        await other.mentions("hello from somebody without a role", QUIET)
        await other.slash("lamps", "show", QUIET, name="red")
        await home.discord.until(lambda: "roles" in whispered(home))
        before = len(home.discord.by_bot(GENERAL))
        await crew.mentions("hello from the right channel here", QUIET)
        await home.answer(QUIET, "For the crew.")
        assert len(home.discord.by_bot(QUIET)) == 1
        assert len(home.discord.by_bot(GENERAL)) == before
        assert DONE == []
    finally:
        await servers.change(GUILD, {"channels": [], "roles": [], "answer_in": "thread"})


async def test_a_server_that_is_switched_off_hears_nothing(home: House) -> None:
    servers = Servers(home.app.parts.db)
    ann = await home.person()
    await servers.change(GUILD, {"enabled": False})
    before = len(home.discord.by_bot())
    try:
        await ann.mentions("is there anybody in here today")
        home.says("Only here.")
        await ann.says("is there anybody over here then")
        await home.answer(ann.dm, "Only here.")
    finally:
        await servers.change(GUILD, {"enabled": True})
    assert len(home.discord.by_bot()) == before + 1


async def test_disabling_a_person_ends_their_answer_within_a_second(home: House) -> None:
    ann = await home.person()
    home.says(calls(call("lamps_wait")), calls(call("lamps_light", name="red")), "Never said.")
    await ann.says("wait for the gate and light it")
    seen = await home.answer(ann.dm, "lamps_wait")
    await home.app.parts.auth.people.update(home.principals[ann.id].id, enabled=False)
    started = asyncio.get_running_loop().time()
    await home.discord.until(lambda: "removed or disabled" in seen.text)
    assert asyncio.get_running_loop().time() - started < 2
    GATE.event.set()
    await ann.says("do you still hear me there")
    await home.answer(ann.dm, "removed or disabled")
    assert "light red" not in DONE
    assert all("Never said" not in s.text for s in home.discord.by_bot(ann.dm))


async def test_unlinking_ends_the_buttons_too(home: House) -> None:
    ann = await home.person()
    home.says(calls(call("lamps_smash", name="red")))
    await ann.says("smash the red one to pieces")
    question = await home.discord.until(
        lambda: next((s for s in home.discord.by_bot(ann.dm) if s.buttons), None)
    )
    await home.accounts.unlink(home.principals[ann.id].id)
    answer = await ann.presses(question, "approve")
    assert "not linked" in answer["data"]["content"]
    assert DONE == []


async def test_too_much_in_a_minute_is_said_once_and_not_answered(home: House) -> None:
    configured(home.app, messages_per_minute=2)
    await home.restart()
    try:
        ann = await home.person()
        home.says("One.", "Two.")
        for n in range(5):
            await ann.says(f"this is one of many {n}")
        await home.answer(ann.dm, "more than 2 in a minute")
        await home.answer(ann.dm, "Two.")
        await asyncio.sleep(0)
        assert len(home.discord.by_bot(ann.dm)) == 3
    finally:
        configured(home.app)
        await home.restart()


async def test_strangers_may_be_ignored_altogether(home: House) -> None:
    configured(home.app, unlinked="ignore")
    await home.restart()
    try:
        eve, ann = home.stranger("nobody"), await home.person()
        await eve.says("hello is there anybody in here")
        home.says("Fence again.")
        await ann.says("answer me and nobody else please")
        await home.answer(ann.dm, "Fence again.")
        assert home.discord.by_bot(eve.dm) == []
    finally:
        configured(home.app)
        await home.restart()
