"""Autonomous agents: their runs are sessions, which are read, continued, parked and cancelled."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage

from graphs.jarvis.caretaker import Pace
from nebula.app import open_app
from nebula.auth.principal import Caller, Surface
from nebula.errors import NoModel
from nebula.settings import Settings
from nebula.tool.registry import Registry
from tests.graphs.keeper import (
    TOOLS,
    by_itself,
    make,
    newest,
    ran,
    sql,
    use,
)
from tests.graphs.lab import ALL, DONE, Lab, call, calls, lab, say, script


async def test_a_run_is_a_session_that_its_owner_reads_and_continues(
    settings: Settings, ada: Caller
) -> None:
    policy = script(calls(call("lamps_light", name="porch")), "The porch is lit.", "You said so.")
    async with lab(settings, policy, more=TOOLS) as world:
        await make(world, ada)
        run = await ran(world, ada, task="Light the porch.")
        [session] = await world.jarvis.sessions.list(ada.principal)
        [asked, answer] = await world.jarvis.sessions.messages(session.id, ada.principal)
        events = await say(world.jarvis, ada, "why did you light it", session_id=session.id)
        history, _ = world.model.asked[-1]
    assert (run.state, run.report, run.tokens, run.session_id) == (
        "done",
        "The porch is lit.",
        30,
        session.id,
    )
    assert [(did.tool, did.status) for did in run.did] == [("lamps_light", "done")]
    assert (session.surface, session.title, answer.text) == (
        Surface.SCHEDULE,
        "keeper",
        "The porch is lit.",
    )
    assert asked.text == "Look after the lamps of this house.\n\nLight the porch."
    assert events[-1].outcome == "answered"
    assert "Light the porch." in str(history)


async def test_a_run_parks_for_an_approval_and_goes_on_in_another_process(
    settings: Settings, ada: Caller
) -> None:
    smash = calls(call("lamps_smash", name="porch"))
    async with lab(settings, script(smash), more=TOOLS) as before:
        await make(before, ada)
        parked = await ran(before, ada)
        [question] = await before.app.parts.approvals.list(ada.principal)
    assert (parked.state, parked.problem, DONE) == (
        "waiting",
        "lamps_smash needs an approval.",
        [],
    )
    assert question.expires_at - question.created_at > timedelta(hours=20)
    async with lab(settings, script("It is gone."), more=TOOLS) as after:
        await after.app.parts.approvals.decide(
            question.id, decision="approve", by=ada.principal, surface=Surface.CHAT
        )
        assert parked.session_id is not None
        _ = [event async for event in after.jarvis.resume(ada, parked.session_id)]
        run = await newest(after, ada)
    assert (run.state, run.report, DONE) == ("done", "It is gone.", ["smash porch"])
    assert [(did.tool, did.status) for did in run.did] == [("lamps_smash", "done")]
    assert run.tokens == 30


async def test_the_server_runs_agents_and_goes_on_with_parked_onesby_itself(
    settings: Settings, ada: Caller
) -> None:
    pace = Pace(beat=0.05, approvals=0.05)
    smash = calls(call("lamps_smash", name="porch"))
    async with lab(settings, script(smash), more=TOOLS, unattended=True, pace=pace) as before:
        await make(before, ada)
        await use(before, ada, "agents_run", agent="keeper")
        await _reaches(before, ada, "waiting")
        [question] = await before.app.parts.approvals.list(ada.principal)
    # Decided while nothing runs that could go on.
    await _decided(settings, question.id, ada)
    async with lab(settings, script("Gone."), more=TOOLS, unattended=True, pace=pace) as after:
        await _reaches(after, ada, "done")
    assert DONE == ["smash porch"]


async def test_a_dry_run_says_what_it_would_do_and_does_nothing(
    settings: Settings, ada: Caller
) -> None:
    wants = calls(
        call("lamps_show"), call("lamps_light", name="porch"), call("lamps_smash", name="hall")
    )
    async with lab(settings, script(wants, "Both would be done."), more=TOOLS) as world:
        await make(world, ada)
        run = await ran(world, ada, dry_run=True)
        heard = str(world.model.asked[-1][0])
        questions = await world.app.parts.approvals.list(ada.principal)
    assert (DONE, questions) == (["show all"], [])
    assert [(did.tool, did.arguments) for did in run.did] == [
        ("lamps_light", {"name": "porch"}),
        ("lamps_smash", {"name": "hall"}),
    ]
    assert "a dry run does not do it" in heard
    assert run.state == "done"


async def test_a_run_is_cancelled_like_any_session(settings: Settings, ada: Caller) -> None:
    async with lab(settings, script(calls(call("lamps_wait"))), more=TOOLS) as world:
        await make(world, ada)
        await use(world, ada, "agents_run", agent="keeper")
        await world.jarvis.unattended.beat()
        session_id = (await newest(world, ada)).session_id
        assert session_id is not None
        async for event in world.jarvis.follow(ada, session_id):
            if event.type == "tool" and event.progress == 0.5:
                await world.jarvis.cancel(ada, session_id)
        run = await newest(world, ada)
        [agent] = (await use(world, ada, "agents_list")).agents
    assert (run.state, agent.failures) == ("cancelled", 0)


async def test_a_parked_run_whose_session_is_cancelled_has_ended(
    settings: Settings, ada: Caller
) -> None:
    async with lab(settings, script(calls(call("lamps_smash", name="a"))), more=TOOLS) as world:
        await make(world, ada)
        parked = await ran(world, ada)
        assert parked.session_id is not None
        await world.jarvis.cancel(ada, parked.session_id)
        await world.jarvis.unattended.beat()
        assert (await newest(world, ada)).state == "cancelled"


async def test_a_run_whose_process_died_is_found_and_counts_as_failed(
    settings: Settings, ada: Caller
) -> None:
    async with lab(settings, script(calls(call("lamps_smash", name="a"))), more=TOOLS) as world:
        await make(world, ada)
        await ran(world, ada)
        await sql(
            world,
            "UPDATE session_turns SET state = 'running', alive_at = now() - interval '1 minute'",
        )
        await world.jarvis.unattended.beat()
        run = await newest(world, ada)
    assert (run.state, run.problem) == ("failed", "The process that ran it ended.")


async def test_two_processes_begin_a_run_once(settings: Settings, ada: Caller) -> None:
    async with lab(settings, script("One."), more=TOOLS) as one, _other(settings) as two:
        await make(one, ada)
        await use(one, ada, "agents_run", agent="keeper")
        both = [world.jarvis.unattended for world in (one, two)]
        await asyncio.gather(*(each.beat() for each in both for _ in range(3)))
        sessions = await one.jarvis.sessions.list(ada.principal)
    assert len(sessions) == 1


async def test_without_a_model_a_plain_command_runs_and_anything_else_says_so(
    settings: Settings, ada: Caller
) -> None:
    async with lab(settings, more=TOOLS) as world:
        await make(world, ada, purpose="light the lamp porch")
        plain = await ran(world, ada)
        await use(world, ada, "agents_update", agent="keeper", purpose="Be good to all lamps.")
        for dry_run in (False, True):
            with pytest.raises(NoModel, match="No language model is connected") as refused:
                await use(world, ada, "agents_run", agent="keeper", dry_run=dry_run)
        left = (await use(world, ada, "agents_list_runs")).runs
        tick = await by_itself(world, ada)
        [agent] = (await use(world, ada, "agents_list")).agents
        world.app.parts.router.thinks = True  # type: ignore[attr-defined]
        [again] = (await use(world, ada, "agents_list")).agents
    assert (plain.state, DONE, len(left)) == ("done", ["light porch"], 1)
    assert (refused.value.code, refused.value.status) == ("no_model", 503)
    assert "check setup" in refused.value.hint
    said = "No language model is connected, and the purpose is no plain command."
    assert (tick.state, tick.problem, tick.code) == ("skipped", said, "no_model")
    assert (tick.session_id, tick.hint) == (None, refused.value.hint)
    assert (agent.enabled, agent.failures, agent.not_before, agent.used.runs) == (True, 0, None, 1)
    assert agent.notice is not None
    assert (agent.notice.said, agent.notice.step) == (said, refused.value.hint)
    assert again.notice is None, "with a model it goes on by itself"


async def test_a_model_that_goes_away_in_the_middle_is_not_the_agents_fault(
    settings: Settings, ada: Caller
) -> None:
    def gone(messages: Sequence[BaseMessage], offered: Sequence[str]) -> AIMessage:
        raise NoModel("No language model answers: ollama is away")

    async with lab(settings, gone, more=TOOLS) as world:
        await make(world, ada, limits={"failures": 1})
        run = await ran(world, ada)
        [agent] = (await use(world, ada, "agents_list")).agents
    assert (run.state, run.code, agent.enabled, agent.failures) == ("failed", "no_model", True, 0)


async def _reaches(world: Lab, who: Caller, state: str) -> None:
    """Listen to the agent until a run of it is in a state."""
    [agent] = (await use(world, who, "agents_list")).agents
    async with asyncio.timeout(30):
        async for event in world.app.parts.events.follow(f"agent:{agent.id}"):
            if event.data["state"] == state:
                return


async def _decided(settings: Settings, question: str, by: Caller) -> None:
    async with open_app(settings, registry=Registry([*ALL, *TOOLS])) as app:
        await app.parts.approvals.decide(
            question, decision="approve", by=by.principal, surface=Surface.CHAT
        )


def _other(settings: Settings) -> Any:
    return lab(settings, script("Two."), more=TOOLS)
