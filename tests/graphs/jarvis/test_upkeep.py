"""What goes on beside the turns: idle sessions, long threads, decisions nobody announced."""

import asyncio
from collections.abc import Sequence

import pytest
from langchain_core.messages import AIMessage, BaseMessage
from sqlalchemy import text

from graphs.events import ChatEvent
from graphs.jarvis.attachments import Attachment
from graphs.jarvis.caretaker import Pace
from graphs.jarvis.summary import LONG_THREAD
from nebula.auth.principal import Caller
from nebula.errors import InvalidInput, TooLarge
from nebula.settings import Settings
from tests.graphs.lab import DONE, Lab, call, calls, lab, only, say, script

FAST = Pace(beat=0.1, approvals=0.1, idle=0.1)


async def run_sql(world: Lab, statement: str) -> None:
    async with world.app.parts.db.session() as db:
        await db.execute(text(statement))


async def closed_summary(world: Lab, ada: Caller, session_id: str) -> str:
    """Let half an hour pass and return the summary that is written."""
    await run_sql(world, "UPDATE sessions SET last_active_at = now() - interval '31 minutes'")
    async with asyncio.timeout(20):
        while True:
            session = await world.jarvis.sessions.get(session_id, ada.principal)
            if session.summary:
                assert session.state == "closed"
                return session.summary
            await asyncio.sleep(0.05)


async def test_an_idle_session_closes_with_the_models_summary(
    settings: Settings, ada: Caller
) -> None:
    policy = script("Hello Ada.", "Ada said hello and was greeted.")
    async with lab(settings, policy, pace=FAST) as world:
        events = await say(world.jarvis, ada, "hello there my good friend")
        summary = await closed_summary(world, ada, events[0].session_id)
    assert summary == "Ada said hello and was greeted."


async def test_without_a_model_the_summary_says_what_was_asked(
    settings: Settings, ada: Caller
) -> None:
    async with lab(settings, pace=FAST) as world:
        events = await say(world.jarvis, ada, "light the lamp porch")
        summary = await closed_summary(world, ada, events[0].session_id)
    assert summary == "Asked: light the lamp porch. Used: lamps_light."


async def test_a_closed_session_is_opened_by_a_message_and_remembers(
    settings: Settings, ada: Caller
) -> None:
    async with lab(settings, script("Hello.", "Still here.")) as world:
        events = await say(world.jarvis, ada, "remember the number seven please")
        session_id = events[0].session_id
        await world.jarvis.sessions.close(session_id, ada.principal)
        await say(world.jarvis, ada, "and which number was it then", session_id=session_id)
        history, _ = world.model.asked[-1]
        session = await world.jarvis.sessions.get(session_id, ada.principal)
    assert session.state == "open"
    assert "number seven" in str(history)


async def test_a_long_thread_is_summarised_and_goes_on(settings: Settings, ada: Caller) -> None:
    def policy(messages: Sequence[BaseMessage], offered: Sequence[str]) -> AIMessage:
        if "Summarise this conversation" in str(messages[0].content):
            return AIMessage("They counted.")
        return AIMessage(f"Noted {len(messages)}.")

    session_id = None
    async with lab(settings, policy) as world:
        for number in range(LONG_THREAD // 2 + 2):
            events = await say(
                world.jarvis, ada, f"please note the number {number}", session_id=session_id
            )
            session_id = events[0].session_id
        history, _ = world.model.asked[-1]
        transcript = await world.jarvis.sessions.messages(session_id, ada.principal)
    assert len(history) < LONG_THREAD / 2
    assert "They counted." in str(history[1].content)
    assert str(history[-1].content) == f"please note the number {LONG_THREAD // 2 + 1}"
    assert len(transcript) == LONG_THREAD + 4


async def test_a_turn_whose_approval_expired_says_so(settings: Settings, ada: Caller) -> None:
    policy = script(calls(call("lamps_smash", name="porch")), "It was too late.")
    async with lab(settings, policy, pace=FAST) as world:
        events = await say(world.jarvis, ada, "please smash the porch lamp")
        await run_sql(world, "UPDATE approvals SET expires_at = now() - interval '1 second'")
        answer = await answered(world, ada, events)
    assert answer == "It was too late."
    assert DONE == []


async def test_a_decision_while_no_process_ran_is_found_at_the_start(
    settings: Settings, ada: Caller
) -> None:
    async with lab(settings, script(calls(call("lamps_smash", name="porch")))) as world:
        events = await say(world.jarvis, ada, "please smash the porch lamp")
        await run_sql(world, "UPDATE approvals SET state = 'approved'")
        await world.jarvis.close()
    async with lab(settings, script("It is gone."), pace=FAST) as world:
        answer = await answered(world, ada, events)
    assert answer == "It is gone."
    assert DONE == ["smash porch"]


async def answered(world: Lab, ada: Caller, events: list[ChatEvent]) -> str:
    """Wait until the session's turn has its answer."""
    session_id = events[0].session_id  # type: ignore[union-attr]
    async with asyncio.timeout(20):
        while True:
            messages = await world.jarvis.sessions.messages(session_id, ada.principal)
            if messages[-1].status == "done" and messages[-1].role == "assistant":
                return messages[-1].text
            await asyncio.sleep(0.05)


async def test_an_attached_text_is_read_along_as_text_from_outside(
    settings: Settings, ada: Caller
) -> None:
    policy = script(calls(call("lamps_light", name="porch")))
    note = Attachment(name="note.txt", media_type="text/plain", content=b"light the porch")
    async with lab(settings, policy) as world:
        events = await say(world.jarvis, ada, "please do what my note says", attachments=[note])
        heard = str(world.model.asked[-1][0][-1].content)
    assert '<outside source="note.txt">\nlight the porch\n</outside>' in heard
    assert events[-1].outcome == "waiting"
    assert only(events, "approval")[0].tool == "lamps_light"


async def test_bad_messages_are_refused_before_a_turn_begins(
    settings: Settings, ada: Caller
) -> None:
    sound = Attachment(name="a.wav", media_type="audio/wav", content=b"x")
    huge = Attachment(name="a.png", media_type="image/png", content=b"x" * (8 * 2**20 + 1))
    async with lab(settings, script()) as world:
        with pytest.raises(InvalidInput):
            await say(world.jarvis, ada, " \x00 ")
        with pytest.raises(TooLarge):
            await say(world.jarvis, ada, "x" * 200_000)
        with pytest.raises(InvalidInput, match="neither a text file nor a picture"):
            await say(world.jarvis, ada, "listen to this", attachments=[sound])
        with pytest.raises(TooLarge, match="8 MiB"):
            await say(world.jarvis, ada, "look at this", attachments=[huge])
        assert await world.jarvis.sessions.list(ada.principal) == []


async def test_events_that_nobody_follows_any_more_are_dropped(settings: Settings) -> None:
    async with lab(settings, pace=FAST) as world:
        events = world.app.parts.events
        await events.publish("lamps", "lamps.old", {})
        await run_sql(world, "UPDATE events SET at = now() - interval '31 days'")
        await events.publish("lamps", "lamps.new", {})
        async with asyncio.timeout(20):
            while [each.kind for each in await events.read("lamps")] != ["lamps.new"]:
                await asyncio.sleep(0.05)
