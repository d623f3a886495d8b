"""Conversations: whose they are, what is read of them, and how they close by themselves."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from memory.checkpoints import Checkpoints, open_checkpoints
from memory.sessions import Housekeeping, Sessions, short_title
from memory.turns import Answer, Turns
from nebula.auth.principal import Caller, Surface
from nebula.db.engine import Database
from nebula.errors import InvalidInput, NotFound
from tests.people import caller, principal

ADA, VIC = principal("admin"), principal("viewer")


@pytest.fixture
async def checkpoints(database: Database) -> AsyncIterator[Checkpoints]:
    async with open_checkpoints(database.conninfo) as opened:
        yield opened


@pytest.fixture
def sessions(database: Database, checkpoints: Checkpoints) -> Sessions:
    return Sessions(database, checkpoints)


async def talk(database: Database, who: Caller, *said: str) -> str:
    """Have a conversation, each message answered, and return its id."""
    session_id = None
    for each in said:
        turns = Turns(database)
        turn = await turns.begin(who, each, session_id)
        await turns.finish(turn, "answered", Answer(text=f"Answer to {each}"))
        session_id = turn.session_id
    assert session_id is not None
    return session_id


async def test_a_conversation_is_titled_by_its_first_message(
    database: Database, sessions: Sessions
) -> None:
    session_id = await talk(database, caller("admin"), "check the GPU, please", "and again")
    session = await sessions.get(session_id, ADA)
    assert (session.title, session.state) == ("check the GPU, please", "open")
    assert session.surface is Surface.REST


async def test_the_transcript_is_in_order(database: Database, sessions: Sessions) -> None:
    session_id = await talk(database, caller("admin"), "one", "two")
    messages = await sessions.messages(session_id, ADA)
    assert [(m.role, m.text) for m in messages] == [
        ("user", "one"),
        ("assistant", "Answer to one"),
        ("user", "two"),
        ("assistant", "Answer to two"),
    ]
    later = await sessions.messages(session_id, ADA, after=messages[1].position)
    assert [m.text for m in later] == ["two", "Answer to two"]


async def test_the_latest_conversation_comes_first_and_lists_continue(
    database: Database, sessions: Sessions
) -> None:
    ids = [await talk(database, caller("admin"), word) for word in ("a", "b", "c")]
    first = await sessions.list(ADA, limit=2)
    assert [session.id for session in first] == [ids[2], ids[1]]
    rest = await sessions.list(ADA, before=first[-1].last_active_at)
    assert [session.id for session in rest] == [ids[0]]


async def test_nobody_else_sees_or_changes_a_conversation(
    database: Database, sessions: Sessions
) -> None:
    session_id = await talk(database, caller("admin"), "a secret")
    assert await sessions.list(VIC) == []
    for attempt in (
        sessions.get(session_id, VIC),
        sessions.messages(session_id, VIC),
        sessions.close(session_id, VIC),
        sessions.reopen(session_id, VIC),
        sessions.rename(session_id, VIC, "mine"),
        sessions.delete(session_id, VIC),
    ):
        with pytest.raises(NotFound):
            await attempt
    with pytest.raises(NotFound):
        await Turns(database).begin(caller("viewer"), "hello", session_id)


async def test_an_idle_conversation_closes_and_a_message_opens_it_again(
    database: Database, sessions: Sessions
) -> None:
    session_id = await talk(database, caller("admin"), "hello")
    house = Housekeeping(database)
    assert await house.close_idle(30) == []
    await age(database, "31 minutes")
    assert await house.close_idle(30) == [session_id]
    assert await house.unsummarised() == [session_id]
    await house.summarise(session_id, "They said hello.")
    assert await house.unsummarised() == []
    closed = await sessions.get(session_id, ADA)
    assert (closed.state, closed.summary) == ("closed", "They said hello.")
    await Turns(database).begin(caller("admin"), "again", session_id)
    assert (await sessions.get(session_id, ADA)).state == "open"


async def test_a_conversation_with_a_running_turn_is_not_idle(
    database: Database, sessions: Sessions
) -> None:
    await Turns(database).begin(caller("admin"), "hello", None)
    await age(database, "2 hours")
    assert await Housekeeping(database).close_idle(30) == []


async def test_closing_renaming_and_reopening_by_hand(
    database: Database, sessions: Sessions
) -> None:
    session_id = await talk(database, caller("admin"), "hello")
    assert (await sessions.close(session_id, ADA)).state == "closed"
    assert [s.id for s in await sessions.list(ADA, state="closed")] == [session_id]
    assert (await sessions.reopen(session_id, ADA)).state == "open"
    assert (await sessions.rename(session_id, ADA, " A  better\nname ")).title == "A better name"
    with pytest.raises(InvalidInput):
        await sessions.rename(session_id, ADA, " \n ")


async def test_deleting_leaves_nothing(
    database: Database, sessions: Sessions, checkpoints: Checkpoints
) -> None:
    session_id = await talk(database, caller("admin"), "hello")
    await sessions.delete(session_id, ADA)
    async with database.session() as db:
        for table in ("sessions", "session_turns", "session_messages"):
            assert await db.scalar(text(f"SELECT count(*) FROM {table}")) == 0
    assert await checkpoints.aget_tuple({"configurable": {"thread_id": session_id}}) is None


def test_a_title_is_one_short_printable_line() -> None:
    assert short_title("  a\x00b\n c ") == "a b c"
    assert len(short_title("word " * 100)) <= 61


async def age(database: Database, interval: str) -> None:
    async with database.session() as db:
        await db.execute(
            text("UPDATE sessions SET last_active_at = now() - CAST(:interval AS interval)"),
            {"interval": interval},
        )
