"""Agents report on Discord: to their owner or into a channel, and ask there what they may do."""

import asyncio
from itertools import count
from typing import Any

import pytest
from sqlalchemy import text

from nebula.auth.principal import Caller, Surface
from nebula.errors import InvalidInput, NotFound, PermissionDenied
from nebula.tool.registry import Registry
from tests.fakes.discord.payloads import GENERAL, GUILD, QUIET
from tests.fakes.discord.people import Person
from tests.fakes.discord.server import Seen
from tests.graphs.lab import DONE, call, calls
from tests.ui.discord.house import House
from tools.agents.schemas import Run
from tools.discord.servers import Servers
from tools.workflows.models import WorkflowRow

pytestmark = pytest.mark.asyncio(loop_scope="module")
_NEEDED = {
    "agents_create",
    "agents_run",
    "agents_list_runs",
    "notify_list_channels",
    "discord_find_place",
}
MORE_TOOLS = [tool for tool in Registry.discover("tools") if tool.name in _NEEDED]
_NUMBERS = count()


async def use(home: House, who: Person, name: str, /, **arguments: Any) -> Any:
    caller = Caller(home.principals[who.id], Surface.CHAT)
    call_id = f"report-{next(_NUMBERS)}"
    return await home.app.executor.execute(name, arguments, caller=caller, call_id=call_id)


async def hired(home: House, who: Person, report_to: str = "discord", **more: Any) -> None:
    spec = {"name": "keeper", "purpose": "Look after the lamps.", "features": ["lamps"]}
    await use(home, who, "agents_create", **spec, report_to=report_to, **more)


async def works(home: House, who: Person, *answers: Any) -> None:
    """Let the agent begin a run in which the model answers so."""
    home.says(*answers)
    await use(home, who, "agents_run", agent="keeper")
    await home.lab.jarvis.unattended.beat()


async def newest(home: House, who: Person) -> Run:
    run: Run = (await use(home, who, "agents_list_runs", limit=1)).runs[0]
    return run


async def told(home: House, who: Person, words: str) -> Run:
    """Wait until it is known what became of the newest report."""
    async with asyncio.timeout(20):
        while words not in (run := await newest(home, who)).told:
            await asyncio.sleep(0.05)
    return run


async def question_in(home: House, where: str) -> Seen:
    return await home.discord.until(
        lambda: next((s for s in home.discord.by_bot(where) if s.buttons), None), 20
    )


async def test_a_report_comes_as_a_direct_message_and_a_reply_goes_on_with_the_run(
    home: House,
) -> None:
    ann = await home.person()
    await hired(home, ann)
    await works(home, ann, "Two lamps are broken.")
    seen = await home.answer(ann.dm, "Two lamps are broken.")
    assert seen.text.startswith("**keeper: done**")
    home.says("The red one and the blue one.")
    await ann.says("which ones are they?", replying_to=seen)
    await home.answer(ann.dm, "The red one and the blue one.", seconds=30)
    history = str(home.lab.model.asked[-1][0])
    run = await newest(home, ann)
    assert "Look after the lamps." in history
    assert "Two lamps are broken." in history
    assert run.told == "Shown on Discord."


async def test_a_parked_run_asks_where_it_reports_and_goes_on_below(home: House) -> None:
    ann = await home.person()
    await hired(home, ann)
    await works(home, ann, calls(call("lamps_smash", name="red")), "It is in pieces.")
    question = await question_in(home, ann.dm)
    assert "agent `keeper`" in question.text
    await home.restart()
    await ann.presses(question, "approve")
    await home.answer(ann.dm, "It is in pieces.")
    said = [seen.text for seen in home.discord.by_bot(ann.dm)]
    assert len([each for each in said if "needs a decision" in each]) == 1
    assert len([each for each in said if "It is in pieces." in each]) == 1
    assert said[0].startswith("**keeper: waiting**")
    assert DONE == ["smash red"]


async def test_a_question_that_is_answered_elsewhere_is_closed_on_discord(home: House) -> None:
    ann = await home.person()
    await hired(home, ann)
    await works(home, ann, calls(call("lamps_smash", name="red")), "Left whole.")
    question = await question_in(home, ann.dm)
    [approval] = await home.app.parts.approvals.list(home.principals[ann.id])
    await home.app.parts.approvals.decide(
        approval.id, decision="deny", by=home.principals[ann.id], surface=Surface.REST
    )
    await home.discord.until(lambda: not question.buttons)
    await home.answer(ann.dm, "Left whole.")
    assert "Denied" in question.text
    assert DONE == []


async def test_a_report_into_a_channel_needs_the_servers_leave_then_and_now(home: House) -> None:
    ann = await home.person()
    home.discord.community.enter(ann.id, ann.name)
    servers = Servers(home.app.parts.db)
    await servers.change(GUILD, {"channels": [GENERAL]})
    with pytest.raises(PermissionDenied, match="may not write there"):
        await hired(home, ann, f"discord:{QUIET}")
    with pytest.raises(NotFound, match="no channel '#generel'"):
        await hired(home, ann, "discord:lab/#generel")
    await hired(home, ann, "discord:lab/#general")
    await works(home, ann, "All fine in general.")
    await home.answer(GENERAL, "All fine in general.")
    await servers.change(GUILD, {"channels": [QUIET]})
    await works(home, ann, "Not for general.")
    run = await told(home, ann, "Not shown")
    await servers.change(GUILD, {"channels": []})
    assert "do not answer in this channel" in run.told
    assert not any("Not for general." in seen.text for seen in home.discord.by_bot(GENERAL))


async def test_whoever_is_no_member_gets_nothing_into_a_channel(home: House) -> None:
    ann = await home.person()
    await hired(home, ann, f"discord:{GENERAL}")
    await works(home, ann, "Nobody reads this.")
    run = await told(home, ann, "Not shown")
    assert "not on that server" in run.told


async def test_reporting_to_discord_needs_a_linked_account(home: House) -> None:
    ann = await home.person()
    await home.accounts.unlink(home.principals[ann.id].id)
    with pytest.raises(InvalidInput, match="no linked Discord account"):
        await hired(home, ann)


async def test_an_agent_that_is_switched_off_tells_its_owner_even_when_it_reports_nowhere(
    home: House,
) -> None:
    ann = await home.person()
    await hired(home, ann, "", limits={"failures": 1})
    await works(home, ann, calls(call("lamps_show")), *[calls(call("lamps_show"))] * 12, "late")
    seen = await home.answer(ann.dm, "The agent is switched off")
    assert "keeper" in seen.text
    assert "Say: resume agent keeper" in seen.text


async def test_a_workflow_that_is_switched_off_tells_its_owner_directly(home: House) -> None:
    ann, other = await home.person(), await home.person()
    owner = home.principals[ann.id]
    row = WorkflowRow(
        id="wfl_off",
        name="nightly",
        owner_id=owner.id,
        owner_name=owner.name,
        definition="",
        rights={},
        labels=[],
        enabled=False,
        failures=5,
        stopped_because="It failed 5 times in a row, last: @everyone",
    )
    async with home.app.parts.db.session() as session:
        session.add(row)
    alert = {"source": "workflows", "workflow": "nightly", "problem": row.stopped_because}
    await home.app.parts.events.publish("alerts", "alert.opened", alert, owner.id)
    seen = await home.answer(ann.dm, "stands still")
    assert "Say: resume workflow nightly" in seen.text
    assert "@everyone" not in seen.text
    assert not [each for each in home.discord.by_bot(other.dm) if "nightly" in each.text]


async def test_what_an_agent_read_outside_pings_nobody_and_links_nowhere(home: House) -> None:
    ann = await home.person()
    await use(
        home,
        ann,
        "agents_create",
        name="keeper",
        purpose="Sum up what came by post this week.",
        features=["letters"],
        report_to="discord",
    )
    evil = "@everyone <@1> look at [this](https://evil.test/x) ![p](https://evil.test/p.png)"
    await works(home, ann, calls(call("letters_read")), evil)
    seen = await home.answer(ann.dm, "look at")
    async with home.app.parts.db.session() as session:
        labels = await session.scalar(
            text("SELECT labels FROM agent_runs ORDER BY created_at DESC LIMIT 1")
        )
    assert "outside" in labels
    assert "@everyone" not in seen.text
    assert "](https" not in seen.text
