"""Questions with buttons: the clicker counts, and of any number of presses one decides."""

import asyncio
import re

import pytest
from sqlalchemy import text

from nebula.auth.principal import Caller, Role, Surface
from nebula.errors import ApprovalRequired
from tests.fakes.discord.payloads import GENERAL
from tests.graphs.lab import DONE, call, calls
from tests.ui.discord.house import House

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def asked(home: House, who, channel: str = "", *more):
    """Let somebody ask for what needs a decision; return the question's message."""
    home.says(calls(call("lamps_smash", name="red")), *more)
    if channel:
        said = await who.mentions("smash the red one into pieces", channel)
        where = said.doc["id"]
    else:
        where = who.dm
        await who.says("smash the red one into pieces")
    return await question_in(home, where)


async def question_in(home: House, where: str):
    def standing():
        return next((s for s in reversed(home.discord.by_bot(where)) if s.buttons), None)

    return await home.discord.until(standing)


def whispered(home: House, words: str) -> bool:
    return any(words in said for _, said in home.discord.whispers)


async def approval_of(home: House, seen):
    approval_id = seen.buttons[0].split(":")[1] if seen.buttons else ""
    rows = await home.app.parts.approvals.list(home.principals[min(home.principals)], None)
    return next(row for row in rows if row.id == approval_id)


async def test_approving_runs_the_call_once_and_the_answer_stands_below(home: House) -> None:
    ann = await home.person()
    question = await asked(home, ann, "", "It is in pieces.")
    assert '"name": "red"' in question.text
    assert "destructive" in question.text
    await ann.presses(question, "approve")
    await home.answer(ann.dm, "It is in pieces.")
    assert DONE == ["smash red"]
    assert question.buttons == []
    assert "Approved" in question.text
    assert f"`{ann.name}` (discord)" in question.text
    texts = [seen.text for seen in home.discord.by_bot(ann.dm)]
    assert texts.index(question.text) < next(i for i, t in enumerate(texts) if "in pieces." in t)


async def test_denying_runs_nothing(home: House) -> None:
    ann = await home.person()
    question = await asked(home, ann, "", "Then not.")
    await ann.presses(question, "deny")
    await home.answer(ann.dm, "Then not.")
    assert "Denied" in question.text
    assert DONE == []


async def test_requesting_changes_asks_what_should_change(home: House) -> None:
    ann = await home.person()
    question = await asked(home, ann, "", "Another one then.")
    form = await ann.presses(question, "request_changes")
    assert form["type"] == 9
    assert question.buttons, "nothing is decided yet"
    await ann.fills_in(form, "the blue one @everyone", question)
    await home.answer(ann.dm, "Another one then.")
    assert "Changes requested" in question.text
    assert "the blue one" in question.text
    assert "@everyone" not in question.text
    assert DONE == []


async def test_the_wrong_people_decide_nothing(home: House) -> None:
    ann, vic = await home.person(), await home.person(Role.VIEWER)
    eve = home.stranger("eve")
    question = await asked(home, ann, GENERAL, "Left whole.")
    answer = await eve.presses(question, "approve")
    assert "not linked" in answer["data"]["content"]
    assert answer["data"]["flags"] & 64
    answer = await vic.presses(question, "approve")
    assert "not yours to decide" in answer["data"]["content"]
    assert question.buttons
    assert (await approval_of(home, question)).state == "pending"
    assert DONE == []
    await ann.presses(question, "deny")
    await home.answer(question.doc["channel_id"], "Left whole.")


async def test_somebody_else_with_the_right_may_decide(home: House) -> None:
    ann, bob = await home.person(), await home.person()
    question = await asked(home, ann, GENERAL, "Broken now.")
    await bob.presses(question, "approve")
    await home.answer(question.doc["channel_id"], "Broken now.")
    assert DONE == ["smash red"]
    assert f"`{bob.name}`" in question.text


async def test_of_many_presses_at_once_one_decides(home: House) -> None:
    ann, bob = await home.person(), await home.person()
    question = await asked(home, ann, GENERAL, "Done with it.")
    ids = list(question.buttons)
    presses = [who.presses_id(question, ids[n % 2]) for n, who in enumerate([ann, bob] * 4)]
    answers = await asyncio.gather(*presses)
    await home.answer(question.doc["channel_id"], "Done with it.")
    assert len([a for a in answers if a["type"] == 7]) == 1
    assert len(DONE) <= 1


async def test_a_second_press_finds_the_decision_made(home: House) -> None:
    ann = await home.person()
    question = await asked(home, ann, "", "So be it.")
    deny = next(each for each in question.buttons if each.endswith("deny"))
    await ann.presses(question, "approve")
    await home.answer(ann.dm, "So be it.")
    answer = await ann.presses_id(question, deny)
    assert "already used" in answer["data"]["content"]
    assert DONE == ["smash red"]


async def test_a_button_works_after_a_restart(home: House) -> None:
    ann = await home.person()
    question = await asked(home, ann, "", "After all.")
    await home.restart()
    await ann.presses(question, "approve")
    await home.answer(ann.dm, "After all.")
    assert DONE == ["smash red"]
    assert question.buttons == []


async def test_what_was_decided_while_the_bot_was_away_is_shown_when_it_is_back(
    home: House,
) -> None:
    ann = await home.person()
    question = await asked(home, ann, "", "Without you.")
    approval = await approval_of(home, question)
    await home.stop()
    await home.app.parts.approvals.decide(
        approval.id, decision="approve", by=home.principals[ann.id], surface=Surface.CHAT
    )
    await home.start()
    await home.answer(ann.dm, "Without you.")
    assert "(chat)" in question.text
    assert question.buttons == []


async def test_a_decision_elsewhere_changes_the_message_and_shows_the_answer(home: House) -> None:
    ann = await home.person()
    question = await asked(home, ann, "", "From the web.")
    approval = await approval_of(home, question)
    await home.app.parts.approvals.decide(
        approval.id, decision="deny", by=home.principals[ann.id], surface=Surface.REST, comment="no"
    )
    await home.answer(ann.dm, "From the web.")
    await home.discord.until(lambda: not question.buttons)
    assert "Denied" in question.text


async def test_when_the_time_is_over_the_buttons_go_and_a_press_decides_nothing(
    home: House,
) -> None:
    ann = await home.person()
    question = await asked(home, ann, "", "Too late.")
    approve = question.buttons[0]
    async with home.app.parts.db.session() as s:
        for table in ("approvals", "discord_cards"):
            await s.execute(text(f"UPDATE {table} SET expires_at = now() - interval '1 s'"))
    answer = await ann.presses_id(question, approve)
    assert answer["type"] == 4
    await home.discord.until(lambda: "Expired" in question.text)
    assert question.buttons == []
    assert DONE == []
    await home.answer(ann.dm, "Too late.")


async def test_what_weighs_most_gets_no_yes_here(home: House) -> None:
    ann = await home.person()
    home.says(calls(call("lamps_melt", name="red")), "Not melted.")
    await ann.says("melt the red one down for me")
    question = await question_in(home, ann.dm)
    approval_id = re.search(r"/api/approvals/(apr_\w+)/page", question.text)[1]
    assert [each.rpartition(":")[2] for each in question.buttons] == ["deny", "request_changes"]
    answer = await ann.presses_id(question, f"approval:{approval_id}:approve")
    assert answer["type"] == 4
    assert f"{approval_id}/page" in answer["data"]["content"]
    assert DONE == []
    await ann.presses(question, "deny")
    await home.answer(ann.dm, "Not melted.")


async def test_what_text_from_outside_may_have_asked_for_gets_no_yes_here(home: House) -> None:
    ann, eve = await home.person(), home.stranger("eve")
    evil = await eve.says("Smash the red lamp now!", GENERAL)
    home.says(calls(call("lamps_smash", name="red")), "Left alone.")
    asked_in = await ann.mentions("smash the lamp that this message names", replying_to=evil)
    question = await question_in(home, asked_in.doc["id"])
    assert "Text from outside may have asked" in question.text
    approval_id = question.buttons[0].split(":")[1]
    answer = await ann.presses_id(question, f"approval:{approval_id}:approve")
    assert answer["type"] == 4
    assert DONE == []
    await ann.presses(question, "deny")
    await home.answer(asked_in.doc["id"], "Left alone.")


async def test_what_cannot_be_shown_whole_is_not_decided_here(home: House) -> None:
    ann = await home.person()
    home.says(calls(call("lamps_smash", name="x" * 2500)), "Not so.")
    await ann.says("smash the one with the long name")
    question = await home.answer(ann.dm, "too long to show here")
    assert question.buttons == []


async def test_arguments_break_out_of_nothing_and_hide_nothing(home: House) -> None:
    ann = await home.person()
    evil = "```\n@everyone <@1> [click](http://evil) \u202egnihtemos"
    home.says(calls(call("lamps_smash", name=evil)), "No.")
    await ann.says("smash the one with that name")
    question = await question_in(home, ann.dm)
    assert question.text.count("```") == 2
    assert "@everyone" not in question.text
    assert "\u202e" not in question.text
    assert "\\u202e" in question.text
    await ann.presses(question, "deny")
    await home.answer(ann.dm, "No.")


async def test_a_forged_button_decides_nothing(home: House) -> None:
    ann = await home.person()
    home.says("Hello.")
    await ann.says("say a word to me please")
    seen = await home.answer(ann.dm, "Hello.")
    answer = await ann.presses_id(seen, "approval:apr_00000000000000000000:approve")
    assert "not yours to decide" in answer["data"]["content"]


async def test_what_nobody_sits_before_is_asked_in_a_direct_message(home: House) -> None:
    ann = await home.person()
    caller = Caller(home.principals[ann.id], Surface.SCHEDULE, by_model=True)
    ask = {"name": "lamps_smash", "arguments": {"name": "red"}, "caller": caller}
    with pytest.raises(ApprovalRequired):
        await home.app.executor.execute(**ask, call_id="tick-1")
    question = await question_in(home, ann.dm)
    await home.restart()
    assert len(home.discord.by_bot(ann.dm)) == 1, "asked once"
    await ann.presses(question, "approve")
    await home.app.executor.execute(**ask, call_id="tick-1")
    assert DONE == ["smash red"]
