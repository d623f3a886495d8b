"""A turn from its message to its end, over a real database."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from agents.profile import Limits
from agents.roster import JARVIS, Roster
from graphs.events import DoneEvent
from graphs.jarvis.caretaker import Pace
from nebula.auth.principal import Caller, Surface
from nebula.errors import NotFound
from nebula.settings import Settings
from tests.graphs.lab import DONE, GATE, call, calls, kinds, lab, only, say, script


@pytest.fixture(autouse=True)
async def _fresh() -> None:
    DONE.clear()
    GATE.event = asyncio.Event()


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


async def test_parallel_calls_all_run_and_show_a_plan(settings: Settings, ada: Caller) -> None:
    both = calls(call("lamps_light", name="porch"), call("lamps_light", name="hall"))
    async with lab(settings, script(both, "Both are lit.")) as world:
        events = await say(world.jarvis, ada, "please light the porch and the hall")
    assert sorted(DONE) == ["light hall", "light porch"]
    assert [step.status for step in only(events, "plan")[-1].steps] == ["done", "done"]


async def test_a_destructive_call_waits_and_runs_once_when_approved(
    settings: Settings, ada: Caller
) -> None:
    policy = script(calls(call("lamps_smash", name="porch")), "It is gone.")
    async with lab(settings, policy) as world:
        events = await say(world.jarvis, ada, "please smash the porch lamp")
        assert kinds(events)[-2:] == ["approval", "done"]
        assert (events[-1].outcome, DONE) == ("waiting", [])
        [approval] = only(events, "approval")
        session_id = events[0].session_id
        await world.app.parts.approvals.decide(
            approval.approval_id, decision="approve", by=ada.principal, surface=Surface.CHAT
        )
        went_on = [event async for event in world.jarvis.resume(ada, session_id)]
    assert went_on[-1].outcome == "answered"
    assert only(went_on, "message")[-1].text == "It is gone."
    assert DONE == ["smash porch"]


async def test_a_denied_call_does_not_run_and_the_model_hears_why(
    settings: Settings, ada: Caller
) -> None:
    policy = script(calls(call("lamps_smash", name="porch")), "You said no.")
    async with lab(settings, policy) as world:
        events = await say(world.jarvis, ada, "please smash the porch lamp")
        await world.app.parts.approvals.decide(
            only(events, "approval")[0].approval_id,
            decision="request_changes",
            by=ada.principal,
            surface=Surface.CHAT,
            comment="take the hall lamp",
        )
        went_on = [event async for event in world.jarvis.resume(ada, events[0].session_id)]
        heard = str(world.model.asked[-1][0][-1].content)
    assert DONE == []
    assert "take the hall lamp" in heard
    assert went_on[-1].outcome == "answered"


async def test_an_approval_outlives_the_process(settings: Settings, ada: Caller) -> None:
    async with lab(settings, script(calls(call("lamps_smash", name="porch")))) as before:
        events = await say(before.jarvis, ada, "please smash the porch lamp")
    session_id, [approval] = events[0].session_id, only(events, "approval")
    async with lab(settings, script("It is gone.")) as after:
        told = [event async for event in after.jarvis.follow(ada, session_id)]
        assert only(told, "approval")[0].approval_id == approval.approval_id
        assert told[-1].outcome == "waiting"
        await after.app.parts.approvals.decide(
            approval.approval_id, decision="approve", by=ada.principal, surface=Surface.CHAT
        )
        went_on = [event async for event in after.jarvis.resume(ada, session_id)]
        [said, answer] = await after.jarvis.sessions.messages(session_id, ada.principal)
    assert (went_on[-1].outcome, DONE) == ("answered", ["smash porch"])
    assert (said.text, answer.text, answer.status) == (
        "please smash the porch lamp",
        "It is gone.",
        "done",
    )
    assert [(one.name, one.status) for one in answer.tool_calls] == [("lamps_smash", "done")]


async def test_four_resumes_at_once_run_the_tool_once(settings: Settings, ada: Caller) -> None:
    policy = script(calls(call("lamps_smash", name="porch")), "It is gone.")
    async with lab(settings, policy) as world:
        events = await say(world.jarvis, ada, "please smash the porch lamp")
        session_id = events[0].session_id
        await world.app.parts.approvals.decide(
            only(events, "approval")[0].approval_id,
            decision="approve",
            by=ada.principal,
            surface=Surface.CHAT,
        )

        async def resume() -> str:
            return [event async for event in world.jarvis.resume(ada, session_id)][-1].outcome

        outcomes = await asyncio.gather(*(resume() for _ in range(4)))
    assert outcomes == ["answered"] * 4
    assert DONE == ["smash porch"]


async def test_a_turn_goes_on_by_itself_after_a_decision_at_another_door(
    settings: Settings, ada: Caller
) -> None:
    policy = script(calls(call("lamps_smash", name="porch")), "It is gone.")
    async with lab(settings, policy) as world:
        events = await say(world.jarvis, ada, "please smash the porch lamp")
        watching = world.jarvis.watch(ada, events[0].session_id)
        heard = asyncio.create_task(_until_done(watching))
        await asyncio.sleep(0)
        await world.app.parts.approvals.decide(
            only(events, "approval")[0].approval_id,
            decision="approve",
            by=ada.principal,
            surface=Surface.TERMINAL,
        )
        async with asyncio.timeout(20):
            assert (await heard)[-1].outcome == "answered"
    assert DONE == ["smash porch"]


async def test_two_pauses_are_answered_one_by_one(settings: Settings, ada: Caller) -> None:
    both = calls(call("lamps_smash", name="porch"), call("lamps_smash", name="hall"))
    async with lab(settings, script(both, "One is gone.")) as world:
        events = await say(world.jarvis, ada, "please smash the porch and hall lamps")
        session_id = events[0].session_id
        porch, hall = sorted(
            only(events, "approval"), key=lambda each: each.arguments["name"], reverse=True
        )
        for approval, decision in ((porch, "approve"), (hall, "deny")):
            await world.app.parts.approvals.decide(
                approval.approval_id, decision=decision, by=ada.principal, surface=Surface.CHAT
            )
            outcome = [event async for event in world.jarvis.resume(ada, session_id)][-1].outcome
    assert outcome == "answered"
    assert DONE == ["smash porch"]


async def _until_done(events: object) -> list[object]:
    heard = []
    async for event in events:  # type: ignore[attr-defined]
        heard.append(event)
        if event.type == "done":
            return heard
    return heard


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


async def test_cancelling_stops_the_turn_and_the_thread_goes_on(
    settings: Settings, ada: Caller
) -> None:
    policy = script(calls(call("lamps_wait")), "Here I am again.")
    async with lab(settings, policy) as world:
        session = await world.jarvis.sessions.create(ada.principal, Surface.CHAT)
        turn = asyncio.create_task(
            say(world.jarvis, ada, "please wait until the lamp is ready", session_id=session.id)
        )
        await until(lambda: "wait" in DONE)
        assert await world.jarvis.cancel(ada, session.id)
        assert (await turn)[-1].outcome == "cancelled"
        assert not await world.jarvis.cancel(ada, session.id)
        events = await say(world.jarvis, ada, "are you there again?", session_id=session.id)
        history, _ = world.model.asked[-1]
        transcript = await world.jarvis.sessions.messages(session.id, ada.principal)
    assert events[-1].outcome == "answered"
    assert [message.status for message in transcript if message.role == "assistant"] == [
        "cancelled",
        "done",
    ]
    assert_whole(history)
    assert "please wait until the lamp is ready" in str(history)


async def test_a_turn_cancelled_from_another_process_stops(settings: Settings, ada: Caller) -> None:
    policy = script(calls(call("lamps_wait")))
    async with lab(settings, policy, pace=Pace(beat=0.05)) as here, lab(settings) as elsewhere:
        session = await here.jarvis.sessions.create(ada.principal, Surface.CHAT)
        turn = asyncio.create_task(
            say(here.jarvis, ada, "please wait until the lamp is ready", session_id=session.id)
        )
        await until(lambda: "wait" in DONE)
        assert await elsewhere.jarvis.cancel(ada, session.id)
        async with asyncio.timeout(10):
            assert (await turn)[-1].outcome == "cancelled"


async def test_a_session_goes_on_after_a_crash_in_mid_turn(settings: Settings, ada: Caller) -> None:
    policy = script(calls(call("lamps_wait")), "Still here.")
    async with lab(settings, policy, stale_seconds=0.2, pace=Pace(beat=60)) as world:
        session = await world.jarvis.sessions.create(ada.principal, Surface.CHAT)
        crashed = world.jarvis.send(
            ada, "please wait until the lamp is ready", session_id=session.id
        )
        await anext(crashed)
        await until(lambda: "wait" in DONE)
        # The process dies: nothing of the turn is written any more.
        [task] = world.jarvis._tasks.values()
        world.jarvis._runner._finish = _nothing  # type: ignore[method-assign]
        task.cancel()
        await asyncio.wait([task])
    async with lab(settings, script("Still here."), stale_seconds=0.2) as world:
        events = await say(world.jarvis, ada, "are you there after all?", session_id=session.id)
        history, _ = world.model.asked[-1]
    assert only(events, "message")[0].text == "Still here."
    assert_whole(history)
    assert "please wait until the lamp is ready" in str(history)


async def test_a_reader_that_leaves_does_not_stop_the_turn(settings: Settings, ada: Caller) -> None:
    policy = script(calls(call("lamps_wait")), "Done all the same.")
    async with lab(settings, policy) as world:
        reading = world.jarvis.send(ada, "please wait until the lamp is ready")
        session_id = (await anext(reading)).session_id  # type: ignore[union-attr]
        await reading.aclose()  # type: ignore[attr-defined]
        await until(lambda: "wait" in DONE)
        following = asyncio.create_task(_until_done(world.jarvis.follow(ada, session_id)))
        GATE.event.set()
        events = await following
        [_, answer] = await world.jarvis.sessions.messages(session_id, ada.principal)
    assert events[-1].outcome == "answered"
    assert events[0].seq == 1
    assert answer.text == "Done all the same."


async def test_a_turn_is_followed_from_another_process(settings: Settings, ada: Caller) -> None:
    policy = script(calls(call("lamps_wait")), "Done all the same.")
    async with lab(settings, policy) as here, lab(settings) as elsewhere:
        reading = here.jarvis.send(ada, "please wait until the lamp is ready")
        session_id = (await anext(reading)).session_id  # type: ignore[union-attr]
        await until(lambda: "wait" in DONE)
        following = asyncio.create_task(_until_done(elsewhere.jarvis.follow(ada, session_id)))
        await asyncio.sleep(0)
        GATE.event.set()
        async with asyncio.timeout(15):
            events = await following
    assert [events[0].type, events[-1].type] == ["session", "done"]
    assert only(events, "message")[0].text == "Done all the same."


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


async def test_text_from_outside_makes_the_next_write_wait(settings: Settings, ada: Caller) -> None:
    policy = script(calls(call("letters_read")), calls(call("lamps_light", name="porch")))
    async with lab(settings, policy) as world:
        events = await say(world.jarvis, ada, "please read the letter and light a lamp")
        heard = str(world.model.asked[-1][0][-1].content)
    assert events[-1].outcome == "waiting"
    assert DONE == ["read"]
    assert heard.startswith('<outside source="letters_read">')
    assert heard.count("</outside>") == 1


async def test_the_taint_stays_with_the_thread_in_later_processes(
    settings: Settings, ada: Caller
) -> None:
    async with lab(settings, script(calls(call("letters_read")), "Read it.")) as world:
        events = await say(world.jarvis, ada, "please read the letter to me")
    later = script(calls(call("lamps_light", name="porch")))
    async with lab(settings, later) as world:
        session_id = events[0].session_id
        events = await say(world.jarvis, ada, "please light the porch lamp", session_id=session_id)
    assert events[-1].outcome == "waiting"


async def test_a_person_typing_the_command_in_a_tainted_thread_is_still_asked(
    settings: Settings, ada: Caller
) -> None:
    async with lab(settings, script(calls(call("letters_read")), "Read it.")) as world:
        events = await say(world.jarvis, ada, "please read the letter to me")
        session_id = events[0].session_id
        events = await say(world.jarvis, ada, "/lamps_light porch", session_id=session_id)
    assert events[-1].outcome == "waiting"
    assert events[-1].model_calls == 0


async def test_a_model_is_never_offered_what_only_people_may_do(
    settings: Settings, ada: Caller
) -> None:
    policy = script(calls(call("lamps_sell", name="porch")), "I may not.")
    async with lab(settings, policy) as world:
        events = await say(world.jarvis, ada, "please sell the porch lamp now")
        _, offered = world.model.asked[0]
    assert "lamps_sell" not in offered
    assert [event.status for event in only(events, "tool")] == ["failed"]
    assert DONE == []


async def test_a_person_may_type_what_models_may_not_do(settings: Settings, ada: Caller) -> None:
    async with lab(settings, script()) as world:
        await say(world.jarvis, ada, "/lamps_sell porch")
    assert DONE == ["sell porch"]


async def test_a_question_gets_reading_tools_only(settings: Settings, ada: Caller) -> None:
    policy = script(calls(call("lamps_light", name="porch")), "It is dark.")
    async with lab(settings, policy) as world:
        await say(world.jarvis, ada, "which of the lamps would be lit?")
        _, offered = world.model.asked[0]
    assert "lamps_show" in offered
    assert "lamps_light" not in offered
    assert DONE == []


async def test_only_the_tools_offered_when_the_turn_began_run(
    settings: Settings, ada: Caller
) -> None:
    few = JARVIS.model_copy(update={"limits": Limits(tools=1)})
    policy = script(calls(call("lamps_smash", name="porch")), "I may not.")
    async with lab(settings, policy, roster=Roster(few, ())) as world:
        events = await say(world.jarvis, ada, "please light the porch lamp")
        _, offered = world.model.asked[0]
    assert offered == ["lamps_light"]
    assert only(events, "tool")[-1].error["code"] == "permission_denied"
    assert only(events, "approval") == []


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
        asked = await say(world.jarvis, ada, "tell me about some broken lamp")
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


async def test_going_on_withdraws_the_open_question(settings: Settings, ada: Caller) -> None:
    policy = script(calls(call("lamps_smash", name="porch")), "Then not.")
    async with lab(settings, policy) as world:
        events = await say(world.jarvis, ada, "please smash the porch lamp")
        [approval] = only(events, "approval")
        again = await say(
            world.jarvis, ada, "let us talk of something else", session_id=events[0].session_id
        )
        row = await world.app.parts.approvals.get(approval.approval_id, ada.principal)
        history, _ = world.model.asked[-1]
    assert again[-1].outcome == "answered"
    assert row.state == "denied"
    assert_whole(history)
    assert DONE == []


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


async def test_command_mode_waits_for_approval_too(settings: Settings, ada: Caller) -> None:
    async with lab(settings) as world:
        events = await say(world.jarvis, ada, "smash the lamp porch")
        assert events[-1].outcome == "waiting"
        await world.app.parts.approvals.decide(
            only(events, "approval")[0].approval_id,
            decision="approve",
            by=ada.principal,
            surface=Surface.CHAT,
        )
        events = [event async for event in world.jarvis.resume(ada, events[0].session_id)]
    assert DONE == ["smash porch"]
    assert "porch" in only(events, "message")[-1].text


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


async def _nothing(*_: object) -> None:
    return None


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not holds():
            await asyncio.sleep(0.01)


def assert_whole(history: Sequence[BaseMessage]) -> None:
    """Every tool call has its answer, as model servers demand."""
    asked = [one["id"] for m in history if isinstance(m, AIMessage) for one in m.tool_calls]
    answered = [m.tool_call_id for m in history if isinstance(m, ToolMessage)]
    assert asked == answered
