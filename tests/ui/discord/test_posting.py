"""Messages and polls posted on Discord for somebody: asked first, once per tick, or told why not."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.principal import Caller, Role, Surface
from nebula.errors import (
    ApprovalRequired,
    InvalidInput,
    NotFound,
    PermissionDenied,
    UpstreamUnavailable,
)
from nebula.jobs.schedules.launch import Launcher
from nebula.jobs.schedules.ticker import Ticker
from nebula.tool.render import to_markdown
from tests.fakes.discord.payloads import GENERAL, GUILD
from tests.fakes.discord.people import Person
from tests.ui.discord.house import DISCORD, House
from tools.discord.community.actions import Actions, action_id
from tools.discord.servers import Servers

pytestmark = pytest.mark.asyncio(loop_scope="module")
MORE_TOOLS = DISCORD

POLL: dict[str, Any] = {"channel": "general", "question": "Which game?", "answers": ["Go", "Chess"]}


@pytest_asyncio.fixture(loop_scope="module")
async def boss(home: House) -> AsyncIterator[Person]:
    """Make an administrator, once the bot is on the server."""
    who = await home.person()
    async with asyncio.timeout(10):
        while await Servers(home.app.parts.db).of(GUILD) is None:
            await asyncio.sleep(0.02)
    yield who
    home.discord.community.failing.clear()
    home.discord.community.forbidden.clear()


def posted(home: House, text: str) -> int:
    return sum(seen.text == text for seen in home.discord.by_bot(GENERAL))


async def test_discord_send_posts_once_it_was_approved_and_mentions_nobody(
    home: House, boss: Person
) -> None:
    done = await home.approved(boss, "discord_send", channel="#general", text="Hi @everyone")
    seen = home.discord.messages[done.message_id]
    assert (seen.text, seen.doc["channel_id"]) == ("Hi @everyone", GENERAL)
    assert seen.doc["allowed_mentions"] == {"parse": []}


@pytest.mark.parametrize(
    ("tool", "values"),
    [("discord_send", {"channel": "general", "text": "not yet"}), ("discord_poll", POLL)],
)
async def test_posting_waits_for_a_person_and_is_not_for_everybody(
    home: House, boss: Person, tool: str, values: dict[str, Any]
) -> None:
    before = len(home.discord.messages)
    with pytest.raises(ApprovalRequired):
        await home.use(boss, tool, **values)
    viewer = await home.person(Role.VIEWER)
    with pytest.raises(PermissionDenied):
        await home.use(viewer, tool, **values)
    assert len(home.discord.messages) == before


@pytest.mark.parametrize(
    ("tool", "values"),
    [("discord_send", {"channel": GENERAL, "text": "lost"}), ("discord_poll", POLL)],
)
async def test_posting_says_when_discord_is_down_or_forbids_it(
    home: House, boss: Person, tool: str, values: dict[str, Any]
) -> None:
    before = len(home.discord.messages)
    # Looked up when it is asked, shown, and looked up when it is done: then it goes down.
    fake = home.discord.community
    fake.forbidden.add("messages")
    with pytest.raises(PermissionDenied, match="Send Messages"):
        await home.approved(boss, tool, **values)
    fake.failing += [500] * 3
    with pytest.raises(UpstreamUnavailable):
        await home.use(boss, tool, **values)
    assert len(home.discord.messages) == before


async def test_a_channel_that_is_not_there_is_refused_before_anybody_is_asked(
    home: House, boss: Person
) -> None:
    with pytest.raises(NotFound, match="no channel") as caught:
        await home.use(boss, "discord_send", channel="generel", text="x")
    assert "general" in caught.value.hint


async def test_a_broken_answer_is_tried_again_and_posts_one_message(
    home: House, boss: Person
) -> None:
    home.discord.community.failing += [429, 503]
    await home.approved(boss, "discord_send", channel="general", text="after a storm")
    assert posted(home, "after a storm") == 1


async def test_a_poll_is_posted_read_and_ended(home: House, boss: Person) -> None:
    made = await home.approved(boss, "discord_poll", **POLL, hours=2)
    assert made.answers == {"Go": 0, "Chess": 0}
    [seen] = [each for each in home.discord.messages.values() if "poll" in each.doc]
    seen.doc["poll"]["results"]["answer_counts"] = [{"id": 1, "count": 3, "me_voted": False}]
    shown = await home.use(boss, "discord_get_poll")
    assert (shown.id, shown.answers, shown.ended) == (made.id, {"Go": 3, "Chess": 0}, False)
    assert "100 %" in to_markdown(shown.render())
    ended = await home.use(boss, "discord_end_poll", poll=made.id)
    assert ended.ended
    assert (await home.use(boss, "discord_get_poll", poll=made.id)).ended


async def test_a_scheduled_message_is_posted_once_per_tick_also_after_a_crash(
    home: House, boss: Person
) -> None:
    at = datetime.now(UTC) + timedelta(minutes=5)
    made = await home.approved(
        boss, "discord_schedule_message", channel="general", text="Game night!", at=at.isoformat()
    )
    [waiting] = (await home.use(boss, "discord_list_scheduled")).messages
    assert (waiting.id, waiting.channel) == (made.messages[0].id, "general")

    async def later(_session: AsyncSession) -> datetime:
        return at + timedelta(seconds=1)

    parts, principal = home.app.parts, home.principals[boss.id]
    tickers = [Ticker(parts.db, Launcher(parts).launch, clock=later) for _ in range(2)]
    assert sum(await asyncio.gather(*(each.fire_due() for each in tickers))) == 1
    [job] = [each for each in await parts.jobs.list(principal) if each.tool == "discord_post"]
    tick = Caller(principal, Surface.SCHEDULE)
    # The worker's part, twice, as after a lost run.
    for _ in range(2):
        await home.app.executor.execute(
            "discord_post", job.arguments, caller=tick, call_id=job.call_id
        )
    assert posted(home, "Game night!") == 1
    # The worst case: posted, and dead before that was written down. Discord knows the nonce.
    from tools.discord.client import DiscordRest

    again = action_id("post", job.call_id)
    await DiscordRest(parts).send(GENERAL, "Game night!", nonce=again)
    assert posted(home, "Game night!") == 1
    assert (await Actions(parts.db).get(again)).detail["message_id"] in home.discord.messages


async def test_a_scheduled_message_repeats_in_its_time_zone_and_can_be_cancelled(
    home: House, boss: Person
) -> None:
    made = await home.approved(
        boss,
        "discord_schedule_message",
        channel="general",
        text="Morning",
        cron="0 9 * * *",
        timezone="Asia/Tokyo",
    )
    [message] = made.messages
    assert message.when == "0 9 * * * (Asia/Tokyo)"
    assert message.next_at is not None
    assert message.next_at.astimezone(UTC).hour == 0
    other = await home.person(Role.DEVELOPER)
    with pytest.raises(NotFound):
        await home.use(other, "discord_cancel_scheduled", message=message.id)
    left = await home.use(boss, "discord_cancel_scheduled", message=message.id)
    assert message.id not in {each.id for each in left.messages}
    with pytest.raises(NotFound):
        await home.use(boss, "discord_cancel_scheduled", message=message.id)


@pytest.mark.parametrize(
    "when",
    [
        {},
        {"cron": "0 9 * * *", "at": "2030-01-01T00:00:00Z"},
        {"cron": "every day"},
        {"at": "2020-01-01T00:00:00Z"},
    ],
)
async def test_a_time_that_is_none_is_refused(home: House, boss: Person, when: Any) -> None:
    with pytest.raises(InvalidInput):
        await home.use(boss, "discord_schedule_message", channel="general", text="x", **when)
