"""A turn from its message to its end, over a real database."""

import asyncio
from collections.abc import Sequence

import pytest
from langchain_core.messages import AIMessage, BaseMessage
from sqlalchemy import text as sql

from graphs.events import DoneEvent
from nebula.app import App
from nebula.auth.principal import Caller, Surface
from nebula.errors import NotFound
from nebula.settings import Settings
from tests.graphs.hearing import until
from tests.graphs.lab import DONE, GATE, call, calls, kinds, lab, only, say, script


async def test_one_tool_and_an_answer_take_two_model_calls(settings: Settings, ada: Caller) -> None:
    policy = script(calls(call("lamps_light", name="porch")), "The porch is lit.")
    async with lab(settings, policy) as world:
        events = await say(world.jarvis, ada, "please light the porch for me")
    assert kinds(events) == ["session", "tool", "tool", "message", "done"]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert DONE == ["light porch"]
    done = events[-1]
    assert isinstance(done, DoneEvent)
    assert (done.outcome, done.model_calls, done.prompt_tokens) == ("answered", 2, 20)
    assert only(events, "message")[0].text == "The porch is lit."
    assert "".join(token.text for token in only(events, "token")).strip() == "The porch is lit."


async def test_a_plain_command_asks_no_model(settings: Settings, ada: Caller) -> None:
    async with lab(settings, script()) as world:
        events = await say(world.jarvis, ada, "/lamps_show porch")
    assert DONE == ["show porch"]
    assert events[-1].model_calls == 0
    [message] = only(events, "message")
    assert "porch" in message.text
    assert message.blocks


async def test_what_is_shown_once_is_seen_by_who_asked_and_kept_nowhere(
    settings: Settings, ada: Caller
) -> None:
    key = "k3y-of-the-lamp-c2f1"
    async with lab(settings, script("You are welcome.")) as world:
        events = await say(world.jarvis, ada, "/lamps_key porch")
        [message], [*_, done] = only(events, "message"), only(events, "tool")
        assert key in message.text and key in str(message.blocks)
        assert done.result == {"name": "porch", "key": key} and key in str(done.blocks)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        session_id = events[0].session_id
        await say(world.jarvis, ada, "thank you for all of this", session_id=session_id)
        [(heard, _)] = world.model.asked
        transcript = await world.jarvis.sessions.messages(session_id, ada.principal)
        found = await _rows_with(world.app, key)
    assert key not in str(heard), "no model is ever shown it"
    assert "Shown once. Ask for another key." in transcript[1].text
    assert found == []


async def _rows_with(app: App, words: str) -> list[str]:
    """Return the tables that hold some words, in text or in bytes."""
    columns = sql(
        "SELECT format('%I.%I', table_schema, table_name), column_name, data_type = 'bytea'"
        " FROM information_schema.columns JOIN information_schema.tables"
        " USING (table_schema, table_name) WHERE table_type = 'BASE TABLE'"
        " AND table_schema NOT IN ('pg_catalog', 'information_schema')"
    )
    found = []
    async with app.parts.db.session() as session:
        for table, column, raw in (await session.execute(columns)).all():
            where = (
                f"convert_to(:words, 'UTF8') IN \"{column}\""
                if raw
                else f':words IN "{column}"::text'
            )
            asked = sql(f"SELECT count(*) FROM {table} WHERE position({where}) > 0")
            if await session.scalar(asked, {"words": words}):
                found.append(f"{table}.{column}")
    return found


async def test_parallel_calls_all_run_and_show_a_plan(settings: Settings, ada: Caller) -> None:
    both = calls(call("lamps_light", name="porch"), call("lamps_light", name="hall"))
    async with lab(settings, script(both, "Both are lit.")) as world:
        events = await say(world.jarvis, ada, "please light the porch and the hall")
        session_id = events[0].session_id
        kept = await world.jarvis.sessions.messages(session_id, ada.principal)
        world.jarvis._streams.clear()
        again = [event async for event in world.jarvis.follow(ada, session_id)]
    assert sorted(DONE) == ["light hall", "light porch"]
    shown = only(events, "plan")[-1].steps
    assert [step.status for step in shown] == ["done", "done"]
    assert [(line.title, line.status) for line in kept[-1].plan] == [("Lamps light", "done")] * 2
    assert [event.steps for event in only(again, "plan")] == [shown], "history tells it again"


async def test_two_messages_at_once_are_served_in_order(settings: Settings, ada: Caller) -> None:
    policy = script(calls(call("lamps_wait")), "First is done.", "Second is done.")
    async with lab(settings, policy) as world:
        session = await world.jarvis.sessions.create(ada.principal, Surface.CHAT)
        first = asyncio.create_task(
            say(world.jarvis, ada, "please wait until the lamp is ready", session_id=session.id)
        )
        await until(lambda: "wait" in DONE)
        second = asyncio.create_task(
            say(world.jarvis, ada, "and now do the next thing", session_id=session.id)
        )
        await until(lambda: len(world.jarvis._tasks) == 2)
        GATE.event.set()
        one, two = await first, await second
        transcript = await world.jarvis.sessions.messages(session.id, ada.principal)
    assert only(one, "message")[0].text == "First is done."
    assert only(two, "message")[0].text == "Second is done."
    assert only(two, "step")[0].name == "Waiting for your earlier message"
    assert [message.role for message in transcript].count("assistant") == 2


async def test_a_model_that_never_stops_calling_is_stopped(settings: Settings, ada: Caller) -> None:
    def stubborn(messages: object, offered: object) -> AIMessage:
        return calls(call("lamps_show", name="porch"))

    async with lab(settings, stubborn) as world:
        events = await say(world.jarvis, ada, "please show every lamp in turn")
        _, last_offer = world.model.asked[-1]
    assert events[-1].outcome == "answered"
    assert len(DONE) == 5
    assert last_offer == []
    assert "go on" in only(events, "message")[-1].text


async def test_a_failing_tool_tells_the_model_what_to_do(settings: Settings, ada: Caller) -> None:
    policy = script(calls(call("lamps_fail")), "It does not answer.")
    async with lab(settings, policy) as world:
        events = await say(world.jarvis, ada, "please check the broken lamp")
        heard = str(world.model.asked[-1][0][-1].content)
    assert "later; do not retry now" in heard
    assert only(events, "tool")[-1].error["code"] == "upstream_unavailable"


async def test_a_person_reads_an_error_as_words(settings: Settings, ada: Caller) -> None:
    async with lab(settings) as world:
        typed = await say(world.jarvis, ada, "/lamps_fail")
        asked = await say(world.jarvis, ada, "that broken, dead lamp")
    for events in (typed, asked):
        text = only(events, "message")[-1].text
        assert text.splitlines() == ["The lamp does not answer", "", "Change its battery."]


async def test_wrong_arguments_are_named_to_the_model(settings: Settings, ada: Caller) -> None:
    policy = script(calls(call("lamps_light", nam="porch")), "Sorry.")
    async with lab(settings, policy) as world:
        await say(world.jarvis, ada, "please light the porch lamp")
        heard = str(world.model.asked[-1][0][-1].content)
    assert "fix the arguments" in heard
    assert "nam" in heard


async def test_a_sub_agent_works_with_the_same_rights(settings: Settings, ada: Caller) -> None:
    def policy(messages: Sequence[BaseMessage], offered: Sequence[str]) -> AIMessage:
        if messages[-1].type == "tool":
            return AIMessage(f"Told: {messages[-1].content}")
        if "ask_lamplighter" in offered:
            return calls(call("ask_lamplighter", task="smash the porch lamp"))
        return calls(call("lamps_smash", name="porch"))

    async with lab(settings, policy) as world:
        events = await say(world.jarvis, ada, "please take care of the old porch lamp")
        assert kinds(events)[-2:] == ["approval", "done"]
        assert only(events, "tool")[-1].agent == "lamplighter"
        await world.app.parts.approvals.decide(
            only(events, "approval")[0].approval_id,
            decision="approve",
            by=ada.principal,
            surface=Surface.CHAT,
        )
        went_on = [event async for event in world.jarvis.resume(ada, events[0].session_id)]
    assert DONE == ["smash porch"]
    assert only(went_on, "step")[-1].status == "done"
    assert len(only(went_on, "message")) == 1


async def test_a_sub_agent_cannot_leave_its_features(settings: Settings, ada: Caller) -> None:
    def policy(messages: Sequence[BaseMessage], offered: Sequence[str]) -> AIMessage:
        if messages[-1].type == "tool":
            return AIMessage(f"Told: {messages[-1].content}")
        if "ask_lamplighter" in offered:
            return calls(call("ask_lamplighter", task="read the letter"))
        return calls(call("letters_read"))

    async with lab(settings, policy) as world:
        events = await say(world.jarvis, ada, "please have somebody read that letter")
    assert DONE == []
    assert only(events, "tool")[-1].error["code"] == "permission_denied"


async def test_command_mode_offers_choices_and_takes_the_answer(
    settings: Settings, ada: Caller
) -> None:
    async with lab(settings) as world:
        events = await say(world.jarvis, ada, "light something somewhere maybe")
        [message] = only(events, "message")
        assert message.blocks[0].kind == "choices"
        picked = next(
            at
            for at, (_, sends) in enumerate(message.blocks[0].options, 1)
            if sends.startswith("/lamps_light")
        )
        events = await say(world.jarvis, ada, str(picked), session_id=events[0].session_id)
        events = await say(world.jarvis, ada, "porch", session_id=events[0].session_id)
    assert DONE == ["light porch"], only(events, "message")[-1].text
    assert events[0].model == "command"


async def test_nobody_reads_or_drives_another_persons_session(
    settings: Settings, ada: Caller, vic: Caller
) -> None:
    async with lab(settings, script("Hello Ada.")) as world:
        events = await say(world.jarvis, ada, "hello there my dear friend")
        session_id = events[0].session_id
        for attempt in (
            world.jarvis.send(vic, "hi", session_id=session_id),
            world.jarvis.resume(vic, session_id),
            world.jarvis.follow(vic, session_id),
            world.jarvis.watch(vic, session_id),
        ):
            with pytest.raises(NotFound):
                await anext(attempt)
        assert not await world.jarvis.cancel(vic, session_id)


async def test_a_crash_in_our_code_is_told_by_its_reference(
    settings: Settings, ada: Caller
) -> None:
    def broken(messages: object, offered: object) -> AIMessage:
        raise ZeroDivisionError("secret detail")

    async with lab(settings, broken) as world:
        events = await say(world.jarvis, ada, "please do something for me")
    assert events[-1].outcome == "failed"
    assert "secret" not in str(only(events, "error")[0].error)
