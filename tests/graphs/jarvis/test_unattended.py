"""Autonomous agents: their runs are sessions, under rights that never grow, within limits."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from graphs.jarvis.caretaker import Pace
from nebula.app import open_app
from nebula.auth.principal import Caller, Role, Surface
from nebula.auth.service import Auth
from nebula.db.engine import Database
from nebula.errors import Conflict, PermissionDenied, UpstreamUnavailable
from nebula.jobs.schedules.launch import Launcher
from nebula.jobs.schedules.ticker import Ticker
from nebula.policy.labels import Label
from nebula.settings import Settings
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from nebula.tool.registry import Registry
from tests.fakes.discord_webhook import DiscordWebhook
from tests.fakes.wire import Wire
from tests.graphs.lab import ALL, DONE, Lab, Lamp, Name, call, calls, lab, say, script
from tools.agents.runs import Runs, Wanted
from tools.agents.schemas import Run

EVERY = Registry.discover("tools")


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    selectors=["name"],
    examples=["buy a lamp", "get another lamp"],
    cost=lambda _values: Decimal(2),
)
async def lamps_buy(ctx: Context, name: Name) -> Lamp:
    """Buy a lamp for two coins."""
    DONE.append(f"buy {name}")
    return Lamp(name=name)


TOOLS = [each for each in EVERY if each.feature in {"agents", "notify"}]
_NUMBERS = count()


async def use(world: Lab, who: Caller, name: str, /, **arguments: Any) -> Any:
    return await world.app.executor.execute(
        name, arguments, caller=who, call_id=f"test-{next(_NUMBERS)}"
    )


async def make(world: Lab, who: Caller, **changes: Any) -> None:
    known = {"name": "keeper", "purpose": "Look after the lamps of this house.", "tools": []}
    await use(world, who, "agents_create", **{**known, "features": ["lamps"], **changes})


async def newest(world: Lab, who: Caller) -> Run:
    listed = await use(world, who, "agents_list_runs", limit=1)
    run: Run = listed.runs[0]
    return run


async def worked(world: Lab, who: Caller) -> Run:
    """Let what is due begin, and follow the newest run to its end or its pause."""
    await world.jarvis.unattended.beat()
    run = await newest(world, who)
    if run.session_id is not None:
        _ = [event async for event in world.jarvis.follow(who, run.session_id)]
    return await newest(world, who)


async def ran(world: Lab, who: Caller, **more: Any) -> Run:
    await use(world, who, "agents_run", agent="keeper", **more)
    return await worked(world, who)


async def sql(world: Lab, statement: str) -> None:
    async with world.app.parts.db.session() as db:
        await db.execute(text(statement))


def failing(messages: Sequence[BaseMessage], offered: Sequence[str]) -> AIMessage:
    raise UpstreamUnavailable("The model is away.")


def stubborn(messages: Sequence[BaseMessage], offered: Sequence[str]) -> AIMessage:
    return calls(call("lamps_show"))


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


async def test_an_agent_is_offered_and_may_use_only_what_it_was_given(
    settings: Settings, ada: Caller
) -> None:
    policy = script(
        calls(call("lamps_light", name="porch"), call("letters_read"), call("agents_list")),
        "I may not.",
    )
    async with lab(settings, policy, more=TOOLS) as world:
        await make(world, ada, features=[], tools=["lamps_show"])
        run = await ran(world, ada)
        _, offered = world.model.asked[0]
    assert (DONE, run.state) == ([], "done")
    assert sorted(offered) == ["lamps_show", "plan"]


async def test_a_right_that_the_owner_loses_is_lost_to_the_run(
    settings: Settings, database: Database
) -> None:
    auth = Auth(database, settings)
    dan = Caller(await auth.create_user("dan", Role.DEVELOPER), Surface.CHAT)
    policy = script(calls(call("lamps_light", name="porch")), "I may not.")
    async with lab(settings, policy, more=TOOLS) as world:
        await make(world, dan)
        await use(world, dan, "agents_run", agent="keeper")
        await sql(world, "UPDATE users SET role = 'viewer' WHERE name = 'dan'")
        world.app.parts.auth.principals.forget()
        run = await worked(world, dan)
        _, offered = world.model.asked[0]
    assert (DONE, run.state) == ([], "done")
    assert "lamps_show" in offered
    assert "lamps_light" not in offered


async def test_rights_that_the_owner_gains_later_are_none_of_the_agents(
    settings: Settings, ada: Caller, vic: Caller
) -> None:
    policy = script(calls(call("lamps_light", name="porch")), "I may not.")
    async with lab(settings, policy, more=TOOLS) as world:
        await make(world, ada)
        await sql(
            world, "UPDATE agents SET rights = jsonb_set(rights, '{allowed}', '[\"lamps:read\"]')"
        )
        run = await ran(world, ada)
    assert (DONE, run.state) == ([], "done")


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


async def test_the_server_runs_agents_and_goes_on_with_parked_ones_by_itself(
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


async def test_what_the_purpose_says_word_for_word_needs_nobody_after_outside_text(
    settings: Settings, ada: Caller
) -> None:
    policy = script(
        calls(call("letters_read")), calls(call("lamps_light", name="porch")), "Read and lit."
    )
    async with lab(settings, policy, more=TOOLS) as world:
        purpose = "Read the letter, then light the lamp porch."
        await make(world, ada, purpose=purpose, features=["lamps", "letters"])
        run = await ran(world, ada)
    assert (run.state, DONE) == ("done", ["read", "light porch"])


async def test_a_purpose_that_was_written_after_outside_text_vouches_for_nothing(
    settings: Settings, ada: Caller
) -> None:
    policy = script(calls(call("lamps_light", name="porch")))
    async with lab(settings, policy, more=TOOLS) as world:
        after_reading = replace(ada, labels=frozenset({Label.USER, Label.OUTSIDE}))
        await make(world, after_reading, purpose="Look around and light the lamp porch.")
        run = await ran(world, ada)
    assert (run.state, DONE) == ("waiting", [])


async def test_a_call_that_costs_more_than_the_day_has_left_is_refused(
    settings: Settings, ada: Caller
) -> None:
    policy = script(calls(call("lamps_buy", name="a"), call("lamps_buy", name="b")), "One.")
    async with lab(settings, policy, more=[*TOOLS, lamps_buy]) as world:
        await make(world, ada, limits={"money_per_day": "3.5"})
        run = await ran(world, ada)
    assert sorted(did.status for did in run.did) == ["done", "failed"]
    assert len(DONE) == 1


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


async def test_text_from_outside_that_asks_for_more_makes_a_person_decide(
    settings: Settings, ada: Caller
) -> None:
    policy = script(calls(call("letters_read")), calls(call("lamps_light", name="cellar")))
    async with lab(settings, policy, more=TOOLS) as world:
        await make(world, ada, features=["lamps", "letters"])
        run = await ran(world, ada)
        [question] = await world.app.parts.approvals.list(ada.principal)
    assert (run.state, DONE, question.tool) == ("waiting", ["read"], "lamps_light")


async def test_a_failing_agent_waits_longer_each_time_and_is_switched_off_with_an_alert(
    settings: Settings, ada: Caller, wire: Wire
) -> None:
    webhook = DiscordWebhook()
    wire.mount("https://discord.com", webhook)
    async with lab(settings, failing, more=TOOLS, wire=wire) as world:
        await use(world, ada, "notify_set_channel", name="ops", address=webhook.url)
        await make(world, ada, report_to="ops", limits={"failures": 2})
        first = await ran(world, ada)
        skipped = await _by_itself(world, ada)
        second = await ran(world, ada)
        [agent] = (await use(world, ada, "agents_list")).agents
        [alert] = await world.app.parts.events.read("alerts")
        with pytest.raises(Conflict, match="keeper is switched off: It failed 2 times in a row"):
            await use(world, ada, "agents_run", agent="keeper")
        await world.jarvis.unattended.beat()
        told = await newest(world, ada)
    assert [first.state, skipped.state, second.state] == ["failed", "skipped", "failed"]
    assert "waits until" in skipped.problem
    assert (agent.enabled, agent.failures) == (False, 2)
    assert (alert.kind, alert.data["agent"]) == ("alert.opened", "keeper")
    assert len(webhook.posted) == 2
    assert "The agent is switched off" in str(webhook.posted[-1])
    assert told.told == "Sent to ops."


async def test_success_ends_the_back_off(settings: Settings, ada: Caller) -> None:
    async with lab(settings, script("All is well."), more=TOOLS) as world:
        await make(world, ada)
        await sql(world, "UPDATE agents SET failures = 3, not_before = now() + interval '1 hour'")
        assert (await ran(world, ada)).state == "done"
        [agent] = (await use(world, ada, "agents_list")).agents
    assert (agent.failures, agent.not_before) == (0, None)


async def test_a_run_ends_when_its_steps_are_used_up(settings: Settings, ada: Caller) -> None:
    async with lab(settings, stubborn, more=TOOLS) as world:
        await make(world, ada, limits={"steps": 2})
        run = await ran(world, ada)
    assert (run.state, DONE) == ("stopped", ["show all"] * 2)
    assert run.problem == "It stopped: its 2 steps are used up."


async def test_a_run_ends_when_its_tokens_are_used_up(settings: Settings, ada: Caller) -> None:
    async with lab(settings, stubborn, more=TOOLS) as world:
        await make(world, ada, limits={"tokens": 500})
        await use(world, ada, "agents_run", agent="keeper")
        await sql(world, "UPDATE agent_runs SET tokens = 490")
        run = await worked(world, ada)
    assert (run.state, run.model_calls, DONE) == ("stopped", 1, ["show all"])
    assert "tokens" in run.problem
    assert run.report.startswith("I stopped")


async def test_a_run_ends_when_its_time_is_used_up(settings: Settings, ada: Caller) -> None:
    async with lab(settings, script(calls(call("lamps_wait"))), more=TOOLS) as world:
        await make(world, ada)
        await use(world, ada, "agents_run", agent="keeper")
        await sql(world, "UPDATE agent_runs SET seconds = 15 * 60 - 1.5")
        run = await worked(world, ada)
    assert (run.state, DONE) == ("stopped", ["wait"])
    assert run.problem == "It stopped: its 15 minutes are used up."
    assert run.seconds < 15 * 60 + 10


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


async def test_a_second_run_is_refused_or_waits_in_line_as_the_agent_says(
    settings: Settings, ada: Caller
) -> None:
    smash = calls(call("lamps_smash", name="a"))
    async with lab(settings, script(smash, "Done."), more=TOOLS) as world:
        await make(world, ada)
        parked = await ran(world, ada)
        with pytest.raises(Conflict, match="still at work"):
            await use(world, ada, "agents_run", agent="keeper")
        skipped = await _by_itself(world, ada)
        await use(world, ada, "agents_update", agent="keeper", overlap="queue")
        await use(world, ada, "agents_run", agent="keeper")
        waiting = await worked(world, ada)
        assert parked.session_id is not None
        await world.jarvis.cancel(ada, parked.session_id)
        await world.jarvis.unattended.beat()
        run = await worked(world, ada)
    assert (skipped.state, waiting.state, run.state) == ("skipped", "queued", "done")


async def test_two_processes_begin_a_run_once(settings: Settings, ada: Caller) -> None:
    async with lab(settings, script("One."), more=TOOLS) as one, _other(settings) as two:
        await make(one, ada)
        await use(one, ada, "agents_run", agent="keeper")
        both = [world.jarvis.unattended for world in (one, two)]
        await asyncio.gather(*(each.beat() for each in both for _ in range(3)))
        sessions = await one.jarvis.sessions.list(ada.principal)
    assert len(sessions) == 1


async def test_two_tickers_fire_a_tick_once_and_its_job_makes_one_run(
    settings: Settings, ada: Caller
) -> None:
    async def later(session: AsyncSession) -> datetime:
        return datetime.now(UTC) + timedelta(minutes=6)

    async with lab(settings, script("Seen."), more=TOOLS) as world:
        await make(world, ada)
        await use(world, ada, "agents_schedule", agent="keeper", every_minutes=5)
        launch = Launcher(world.app.parts).launch
        tickers = [Ticker(world.app.parts.db, launch, clock=later) for _ in range(2)]
        fired = await asyncio.gather(*(ticker.fire_due() for ticker in tickers))
        [job] = await world.app.parts.jobs.list(ada.principal)
        # The worker's part: the job's call, twice, as after a lost run.
        tick = Caller(ada.principal, Surface.SCHEDULE)
        for _ in range(2):
            await world.app.executor.execute(
                "agents_run", job.arguments, caller=tick, call_id=job.call_id
            )
        run = await worked(world, ada)
        # Even where the record of calls has forgotten it, the tick has had its run.
        again = Wanted(cause=job.call_id, started_by="its schedule", by_itself=True)
        told = await Runs(world.app.parts).ask("keeper", ada.principal, again)
        runs = (await use(world, ada, "agents_list_runs")).runs
    assert (sum(fired), told.id) == (1, run.id)
    assert (len(runs), run.state, run.started_by) == (1, "done", "its schedule")


async def test_an_event_starts_the_agent_once_and_tells_it_what_happened(
    settings: Settings, ada: Caller, vic: Caller
) -> None:
    async with lab(settings, script("A download failed."), more=TOOLS) as world:
        await make(world, ada, on_event="job.changed", where={"state": "failed"}, overlap="queue")
        publish = world.app.parts.events.publish
        job = {"id": "job_1", "tool": "models_download", "note": "rm -rf"}
        await publish("jobs", "job.changed", {**job, "state": "running"}, ada.principal.id)
        await publish("jobs", "job.changed", {**job, "state": "failed"}, ada.principal.id)
        run = await worked(world, ada)
        await world.jarvis.unattended.beat()
        runs = (await use(world, ada, "agents_list_runs")).runs
        heard = str(world.model.asked[0][0][-1].content)
    assert (len(runs), run.state, run.started_by) == (1, "done", "event job.changed")
    assert heard.endswith("job.changed: id job_1, tool models_download, state failed")


async def test_another_persons_events_start_nothing(
    settings: Settings, ada: Caller, database: Database
) -> None:
    auth = Auth(database, settings)
    dan = Caller(await auth.create_user("dan", Role.DEVELOPER), Surface.CHAT)
    async with lab(settings, script(), more=TOOLS) as world:
        await make(world, dan, on_event="job.changed")
        data = {"id": "job_1", "tool": "x", "state": "failed"}
        await world.app.parts.events.publish("jobs", "job.changed", data, ada.principal.id)
        await world.jarvis.unattended.beat()
        runs = (await use(world, dan, "agents_list_runs")).runs
    assert runs == []


async def test_without_a_model_a_plain_command_runs_and_anything_else_says_so(
    settings: Settings, ada: Caller
) -> None:
    async with lab(settings, more=TOOLS) as world:
        await make(world, ada, purpose="light the lamp porch")
        plain = await ran(world, ada)
        await use(world, ada, "agents_update", agent="keeper", purpose="Be good to all lamps.")
        unclear = await ran(world, ada)
    assert (plain.state, DONE) == ("done", ["light porch"])
    assert (unclear.state, unclear.problem) == (
        "failed",
        "No language model is connected, and the purpose is no plain command.",
    )


async def test_an_agent_neither_makes_nor_starts_agents(settings: Settings, ada: Caller) -> None:
    async with lab(settings, script(), more=TOOLS) as world:
        await make(world, ada)
        itself = Caller(ada.principal, Surface.SCHEDULE, agent="keeper")
        for tool, arguments in (
            ("agents_run", {"agent": "keeper"}),
            ("agents_update", {"agent": "keeper", "features": ["notify"]}),
        ):
            with pytest.raises(PermissionDenied):
                await use(world, itself, tool, **arguments)


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


async def _by_itself(world: Lab, who: Caller) -> Run:
    """Let the schedule's call come, as a worker makes it."""
    tick = Caller(who.principal, Surface.SCHEDULE)
    await use(world, tick, "agents_run", agent="keeper")
    return await worked(world, who)


def _other(settings: Settings) -> Any:
    return lab(settings, script("Two."), more=TOOLS)
