"""Lost connections, dead ones, refused tokens: no message is lost, none is answered twice."""

import asyncio

import pytest

from nebula.errors import InvalidInput, NotAuthenticated
from tests.graphs.lab import GATE, call, calls
from tests.ui.discord.house import PACE, House, configured
from tools.discord.servers import Servers
from ui.discord.run import beside, keep

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def connected(home: House) -> None:
    await asyncio.wait_for(home.discord.gateway.connected.wait(), 10)


async def test_the_bot_asks_for_messages_and_their_content_and_beats(home: House) -> None:
    gateway = home.discord.gateway
    assert gateway.intents == 1 | 1 << 9 | 1 << 12 | 1 << 15
    state = await Servers(home.app.parts.db).bot()
    await home.discord.until(lambda: gateway.log.count(1) >= 0)
    assert (state.application_id, state.problem) == ("100", "")


async def test_a_dropped_connection_is_resumed_and_nothing_is_missed_or_doubled(
    home: House,
) -> None:
    ann, gateway = await home.person(), home.discord.gateway
    home.says("Before.", "Meanwhile.")
    await ann.says("this one is before the drop")
    await home.answer(ann.dm, "Before.")
    resumed = gateway.resumed
    await gateway.drop()
    await ann.says("this one is while it is away")
    await home.answer(ann.dm, "Meanwhile.")
    assert gateway.resumed == resumed + 1
    assert [seen.text for seen in home.discord.by_bot(ann.dm)] == ["Before.", "Meanwhile."]


async def test_an_answer_goes_on_growing_while_the_connection_is_lost(home: House) -> None:
    ann = await home.person()
    home.says(calls(call("lamps_wait")), "It is open.")
    await ann.says("please wait for the gate now")
    await home.answer(ann.dm, "lamps_wait")
    await home.discord.gateway.drop()
    GATE.event.set()
    seen = await home.answer(ann.dm, "It is open.")
    assert len(home.discord.by_bot(ann.dm)) == 1
    assert seen.edits
    await connected(home)


async def test_when_the_session_cannot_be_resumed_missed_messages_are_read_up(home: House) -> None:
    ann, gateway = await home.person(), home.discord.gateway
    home.says("Known.", "Caught up.")
    await ann.says("here I say the first thing")
    await home.answer(ann.dm, "Known.")
    identified, gateway.forgets = gateway.identified, True
    await gateway.drop()
    await ann.says("nobody tells you of this one", unheard=True)
    await home.answer(ann.dm, "Caught up.", seconds=20)
    gateway.forgets = False
    assert gateway.identified == identified + 1
    assert [seen.text for seen in home.discord.by_bot(ann.dm)] == ["Known.", "Caught up."]


async def test_discord_may_ask_for_another_connection(home: House) -> None:
    gateway = home.discord.gateway
    await connected(home)
    before = gateway.resumed
    await gateway.ask_to_reconnect()
    await home.discord.until(lambda: gateway.resumed == before + 1)


async def test_a_connection_that_answers_no_heartbeat_is_given_up(home: House) -> None:
    gateway = home.discord.gateway
    gateway.heartbeat_ms, gateway.deaf = 150, True
    before = gateway.resumed
    await gateway.ask_to_reconnect()
    await home.discord.until(lambda: gateway.resumed >= before + 2, 20)
    gateway.heartbeat_ms, gateway.deaf = 41_250, False
    await gateway.ask_to_reconnect()
    await connected(home)
    ann = await home.person()
    home.says("Alive.")
    await ann.says("are you alive after all that")
    await home.answer(ann.dm, "Alive.", seconds=20)


async def test_a_turn_whose_process_died_is_told_as_interrupted(home: House) -> None:
    ann = await home.person()
    home.says(calls(call("lamps_wait")))
    await ann.says("wait for the gate to open")
    seen = await home.answer(ann.dm, "lamps_wait")
    await home.stop()
    # As kill -9 does: the turn's task is gone, and nobody wrote down its end.
    from sqlalchemy import text

    async with home.app.parts.db.session() as s:
        await s.execute(text("UPDATE session_turns SET alive_at = now() - interval '60 s'"))
    jarvis = home.lab.jarvis
    tasks = list(jarvis._tasks.values())
    beat, jarvis._turns.beat = jarvis._turns.beat, _no_beat
    streams = list(jarvis._streams.items())
    jarvis._streams.clear()
    try:
        await home.start()
        await home.discord.until(lambda: "interrupted" in seen.text)
    finally:
        jarvis._turns.beat = beat
        jarvis._streams.update(streams)
        for task in tasks:
            task.cancel()
    assert len(home.discord.by_bot(ann.dm)) == 1


async def _no_beat(_turns):
    return []


async def test_two_bots_on_one_database_answer_once(home: House) -> None:
    ann, gateway = await home.person(), home.discord.gateway
    identified = gateway.identified
    async with beside(home.lab.app, home.lab.jarvis, PACE):
        await home.discord.until(lambda: gateway.identified == identified + 1)
        await connected(home)
        home.says("Only once.", "Nor twice.", "And a third.")
        for words in ("both of you hear this one", "and you both hear this one"):
            await ann.says(words)
        await home.answer(ann.dm, "Nor twice.")
    assert [seen.text for seen in home.discord.by_bot(ann.dm)] == ["Only once.", "Nor twice."]
    await home.restart()


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"token": "wrong"}, NotAuthenticated, "refuses the bot's token"),
        ({"token": ""}, InvalidInput, "no bot token"),
    ],
)
async def test_a_bad_token_is_a_clear_error(home: House, change, error, says) -> None:
    await home.stop()
    configured(home.app, **change)
    try:
        with pytest.raises(error, match=says):
            await asyncio.wait_for(keep(home.app, home.lab.jarvis, PACE), 10)
        # Beside the server it is said, and the server goes on.
        async with beside(home.app, home.lab.jarvis, PACE):
            await asyncio.sleep(0)
    finally:
        configured(home.app)
        await home.start()


async def test_a_missing_intent_is_a_clear_error(home: House) -> None:
    await home.stop()
    home.discord.gateway.bad_intents = True
    try:
        with pytest.raises(InvalidInput, match="may not read"):
            await asyncio.wait_for(keep(home.app, home.lab.jarvis, PACE), 10)
        assert "Message Content Intent" in (await Servers(home.app.parts.db).bot()).problem
    finally:
        home.discord.gateway.bad_intents = False
        await home.start()
