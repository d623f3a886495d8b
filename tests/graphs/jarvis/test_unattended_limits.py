"""Agents keep to their limits: money, steps, tokens, time, and failures in a row."""

import pytest

from nebula.auth.principal import Caller
from nebula.errors import Conflict
from nebula.settings import Settings
from tests.fakes.discord_webhook import DiscordWebhook
from tests.fakes.wire import Wire
from tests.graphs.keeper import (
    TOOLS,
    by_itself,
    failing,
    lamps_buy,
    make,
    newest,
    ran,
    sql,
    stubborn,
    use,
    worked,
)
from tests.graphs.lab import DONE, call, calls, lab, script


async def test_a_call_that_costs_more_than_the_day_has_left_is_refused(
    settings: Settings, ada: Caller
) -> None:
    policy = script(calls(call("lamps_buy", name="a"), call("lamps_buy", name="b")), "One.")
    async with lab(settings, policy, more=[*TOOLS, lamps_buy]) as world:
        await make(world, ada, limits={"money_per_day": "3.5"})
        run = await ran(world, ada)
    assert sorted(did.status for did in run.did) == ["done", "failed"]
    assert len(DONE) == 1


async def test_a_failing_agent_waits_longer_each_time_and_is_switched_off_with_an_alert(
    settings: Settings, ada: Caller, wire: Wire
) -> None:
    webhook = DiscordWebhook()
    wire.mount("https://discord.com", webhook)
    async with lab(settings, failing, more=TOOLS, wire=wire) as world:
        await use(world, ada, "notify_set_channel", name="ops", address=webhook.url)
        await make(world, ada, report_to="ops", limits={"failures": 2})
        first = await ran(world, ada)
        skipped = await by_itself(world, ada)
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
    assert "Say: resume agent keeper" in str(webhook.posted[-1]).replace("\\", "")
    assert told.told == "Sent to ops."
    assert agent.notice is not None
    assert (agent.notice.said, agent.notice.step) == (
        agent.stopped_because,
        "Say: resume agent keeper",
    )


async def test_a_switched_off_agent_asks_for_its_owner_until_it_is_switched_on(
    settings: Settings, ada: Caller
) -> None:
    async with lab(settings, failing, more=TOOLS) as world:
        await make(world, ada, limits={"failures": 1})
        await ran(world, ada)
        [off] = (await use(world, ada, "agents_list")).agents
        on = (await use(world, ada, off.notice.tool, **off.notice.arguments)).agent
        await use(world, ada, "agents_update", agent="keeper", action="pause")
        [paused] = (await use(world, ada, "agents_list")).agents
    assert (on.enabled, on.failures, on.notice) == (True, 0, None)
    assert (paused.enabled, paused.notice) == (False, None), "who paused it knows that"


async def test_an_agent_that_a_limit_of_the_day_stops_tells_its_owner_once(
    settings: Settings, ada: Caller, wire: Wire
) -> None:
    webhook = DiscordWebhook()
    wire.mount("https://discord.com", webhook)
    async with lab(settings, script("Fine.", "Fine."), more=TOOLS, wire=wire) as world:
        await use(world, ada, "notify_set_channel", name="ops", address=webhook.url)
        await make(world, ada, report_to="ops", report_when="problems", limits={"runs_per_day": 1})
        await ran(world, ada)
        for _ in range(3):
            skipped = await by_itself(world, ada)
        await world.jarvis.unattended.beat()
        [agent] = (await use(world, ada, "agents_list")).agents
        await sql(world, "UPDATE agent_runs SET created_at = now() - interval '25 hours'")
        [later] = (await use(world, ada, "agents_list")).agents
    assert (skipped.state, skipped.code) == ("skipped", "limits")
    assert agent.notice is not None
    assert agent.notice.said == "keeper has had its 1 runs of 24 hours."
    assert "/agents_update agent=keeper limits=" in agent.notice.step
    assert len(webhook.posted) == 1
    assert later.notice is None


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
    assert (run.code, "/agents_update agent=keeper" in run.hint) == ("limits", True)


async def test_a_limit_that_its_owner_has_seen_to_is_no_news_any_more(
    settings: Settings, ada: Caller
) -> None:
    async with lab(settings, stubborn, more=TOOLS) as world:
        await make(world, ada, limits={"steps": 2})
        await ran(world, ada)
        [stopped] = (await use(world, ada, "agents_list")).agents
        await use(world, ada, "agents_update", agent="keeper", limits={"steps": 9})
        [seen_to] = (await use(world, ada, "agents_list")).agents
    assert stopped.notice is not None and "2 steps are used up" in stopped.notice.said
    assert seen_to.notice is None


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
