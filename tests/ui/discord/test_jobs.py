"""Background jobs on Discord: one message each that grows, ends with the result, and cancels."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from nebula.auth.principal import Role
from nebula.jobs.worker import open_worker
from tests.fakes.discord.payloads import GENERAL
from tests.fakes.discord.people import Person
from tests.fakes.discord.server import Seen
from tests.graphs.lab import DONE, GATE, call, calls
from tests.nebula.jobs.pace import QUICK
from tests.ui.discord.house import House
from tools.discord.followed import FollowedJobs

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def worker(home: House) -> AsyncIterator[None]:
    async with open_worker(home.app, 4, grace_seconds=0.1, pace=QUICK):
        yield


async def begun(home: House, who: Person, name: str = "red", channel: str = "") -> Seen:
    """Let somebody begin a job, and return its message once it runs."""
    home.says(calls(call("lamps_polish", name=name)), "It is being polished.")
    where = who.dm
    if channel:
        where = (await who.mentions("polish a lamp for me please", channel)).doc["id"]
    else:
        await who.says("polish a lamp for me please")
    return await home.answer(where, "25%")


async def test_a_job_is_followed_after_the_turn_has_ended_and_its_result_stands_below(
    home: House,
) -> None:
    ann = await home.person()
    card = await begun(home, ann)
    assert "Running** · `lamps_polish` · 25% · step 1 of 4" in card.text
    assert "rubbing red" in card.text
    assert [each.rpartition(":")[2] for each in card.buttons] == ["cancel"]
    GATE.event.set()
    await home.discord.until(lambda: "Done" in card.text)
    await home.answer(ann.dm, "All shades")
    assert card.buttons == []
    assert "took" in card.text
    names = [name for seen in home.discord.by_bot(ann.dm) for name in seen.files]
    assert "a-lamp-2.png" in names
    assert DONE == ["polish red"]


async def test_a_job_that_fails_says_why_and_what_to_do(home: House) -> None:
    ann = await home.person()
    card = await begun(home, ann, "cracked")
    GATE.event.set()
    await home.discord.until(lambda: "Failed" in card.text)
    assert "The lamp broke" in card.text
    assert "Take another." in card.text
    assert card.buttons == []


async def test_the_button_cancels_for_those_who_may_and_nobody_else(home: House) -> None:
    ann, vic = await home.person(), await home.person(Role.VIEWER)
    eve = home.stranger()
    card = await begun(home, ann, channel=GENERAL)
    assert "not linked" in (await eve.presses(card, "cancel"))["data"]["content"]
    refused = await vic.presses(card, "cancel")
    assert refused["data"]["flags"] & 64
    assert "Running" in card.text
    await ann.presses(card, "cancel")
    await home.discord.until(lambda: "Cancelled" in card.text)
    assert card.buttons == []
    assert DONE == []


async def test_a_restart_goes_on_following_and_the_button_still_works(home: House) -> None:
    ann, bob = await home.person(), await home.person()
    hers, his = await begun(home, ann), await begun(home, bob)
    await home.stop()
    GATE.event.set()
    jobs = home.app.parts.jobs
    job_id = hers.buttons[0].split(":")[1]
    await jobs.wait(job_id, home.principals[ann.id], 10)
    await home.start()
    await home.discord.until(lambda: "Done" in hers.text and "Done" in his.text)
    await home.answer(ann.dm, "All shades")
    results = [s for s in home.discord.by_bot(ann.dm) if "All shades" in s.text]
    assert len(results) == 1
    answer = await ann.presses_id(hers, f"job:{job_id}:cancel")
    assert answer["type"] == 4


async def test_a_message_that_was_deleted_is_let_go_and_the_job_goes_on(home: House) -> None:
    ann = await home.person()
    card = await begun(home, ann)
    home.discord.delete(card)
    GATE.event.set()
    job_id = card.buttons[0].split(":")[1]
    job = await home.app.parts.jobs.wait(job_id, home.principals[ann.id], 10)
    async with asyncio.timeout(10):
        while [each for each in await FollowedJobs(home.app.parts.db).standing()]:
            await asyncio.sleep(0.02)
    assert job.state == "succeeded"
    assert not any("All shades" in seen.text for seen in home.discord.by_bot(ann.dm))


async def test_whoever_is_unlinked_meanwhile_is_shown_nothing_more(home: House) -> None:
    ann = await home.person()
    card = await begun(home, ann)
    await home.accounts.unlink(home.principals[ann.id].id)
    GATE.event.set()
    await home.discord.until(lambda: "no longer followed" in card.text)
    assert card.buttons == []
    assert not any("All shades" in seen.text for seen in home.discord.by_bot(ann.dm))
