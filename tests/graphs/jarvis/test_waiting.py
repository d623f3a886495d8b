"""Turns that wait for a person, and go on once that person decided."""

import asyncio

from langchain_core.messages import AIMessage

from nebula.auth.principal import Caller, Surface
from nebula.settings import Settings
from tests.graphs.hearing import assert_whole, until_done
from tests.graphs.lab import DONE, call, calls, kinds, lab, only, say, script


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
        heard = asyncio.create_task(until_done(watching))
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


async def test_changes_asked_for_reach_the_model_whose_changed_call_is_a_question_of_its_own(
    settings: Settings, ada: Caller
) -> None:
    policy = script(
        calls(call("lamps_smash", name="porch")),
        AIMessage("", tool_calls=[{**call("lamps_smash", name="hall"), "id": "call_again"}]),
        "It is gone.",
    )
    async with lab(settings, policy) as world:
        events = await say(world.jarvis, ada, "please smash the porch lamp")
        session_id, [first] = events[0].session_id, only(events, "approval")
        decide = world.app.parts.approvals.decide
        await decide(
            first.approval_id,
            decision="request_changes",
            by=ada.principal,
            surface=Surface.CHAT,
            comment="take the hall lamp",
        )
        went_on = [event async for event in world.jarvis.resume(ada, session_id)]
        heard = str(world.model.asked[1][0][-1].content)
        [second] = only(went_on, "approval")
        assert "take the hall lamp" in heard and "question of its own" in heard
        assert (second.arguments, second.approval_id != first.approval_id, DONE) == (
            {"name": "hall"},
            True,
            [],
        )
        await decide(second.approval_id, decision="approve", by=ada.principal, surface=Surface.CHAT)
        ended = [event async for event in world.jarvis.resume(ada, session_id)]
    assert (ended[-1].outcome, DONE) == ("answered", ["smash hall"])
