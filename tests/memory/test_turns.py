"""Turns keep their order across processes, and a silent one does not block the rest."""

import asyncio

from sqlalchemy import text

from memory.sessions import ToolCallRecord
from memory.turns import Answer, Turns
from nebula.auth.principal import Caller
from nebula.db.engine import Database
from tests.people import caller, principal

ADA: Caller = caller("admin")


async def test_one_turn_runs_and_the_next_ones_wait_in_order(database: Database) -> None:
    turns = Turns(database)
    first = await turns.begin(ADA, "one", None)
    second, third = [await turns.begin(ADA, word, first.session_id) for word in ("two", "three")]
    assert [first.running, second.running, third.running] == [True, False, False]
    assert not await turns.claim(second)
    await turns.finish(first, "answered", Answer(text="1"))
    assert not await turns.claim(third)
    assert await turns.claim(second)
    await turns.finish(second, "answered", Answer(text="2"))
    assert await turns.claim(third)


async def test_of_ten_begun_at_once_one_runs(database: Database) -> None:
    turns = Turns(database)
    first = await turns.begin(ADA, "make the session", None)
    await turns.finish(first, "answered", Answer())
    begun = await asyncio.gather(*(turns.begin(ADA, str(n), first.session_id) for n in range(10)))
    assert [turn.running for turn in begun].count(True) == 1


async def test_a_silent_turn_is_lost_and_told_to_the_next(database: Database) -> None:
    crashed = await Turns(database).begin(ADA, "one", None)
    turns = Turns(database, stale_seconds=0.0)
    turn = await turns.begin(ADA, "two", crashed.session_id)
    assert not turn.running
    assert await turns.claim(turn)
    assert [(each.id, each.state, each.said) for each in turn.earlier] == [
        (crashed.id, "lost", "one")
    ]


async def test_a_sign_of_life_keeps_a_turn(database: Database) -> None:
    running = await Turns(database).begin(ADA, "one", None)
    patient = Turns(database, stale_seconds=30)
    waiting = await patient.begin(ADA, "two", running.session_id)
    await patient.beat([running.id])
    assert not await patient.claim(waiting)


async def test_a_waiting_turn_is_taken_up_once(database: Database) -> None:
    turns = Turns(database)
    turn = await turns.begin(ADA, "one", None)
    await turns.finish(turn, "waiting", Answer(waits_for=["apr_1"]))
    taken = await asyncio.gather(*(turns.resume(turn.session_id) for _ in range(5)))
    assert [each is not None for each in taken].count(True) == 1


async def test_a_message_withdraws_the_waiting_turn(database: Database) -> None:
    turns = Turns(database)
    first = await turns.begin(ADA, "one", None)
    await turns.finish(first, "waiting", Answer(waits_for=["apr_1"]))
    second = await turns.begin(ADA, "two", first.session_id)
    assert second.running
    assert [each.said for each in second.earlier] == ["one"]
    assert await turns.resume(first.session_id) is None


async def test_cancelling_is_told_to_whoever_runs_the_turn(database: Database) -> None:
    turns = Turns(database)
    turn = await turns.begin(ADA, "one", None)
    assert await turns.cancel(turn.session_id, principal("viewer")) == []
    assert await turns.cancel(turn.session_id, principal("admin")) == [turn.id]
    assert await turns.beat([turn.id]) == [turn.id]
    await turns.finish(turn, "cancelled", Answer())
    assert await turns.cancel(turn.session_id, principal("admin")) == []


async def test_an_answer_is_written_over_while_the_turn_goes_on(database: Database) -> None:
    turns = Turns(database)
    turn = await turns.begin(ADA, "one", None)
    call = ToolCallRecord(call_id="c", name="lamps_light", status="waiting")
    await turns.finish(turn, "waiting", Answer(tool_calls=[call], waits_for=["apr_1"]))
    await turns.resume(turn.session_id)
    await turns.finish(turn, "answered", Answer(text="Lit."))
    async with database.session() as db:
        rows = await db.execute(
            text("SELECT text, status FROM session_messages WHERE role = 'assistant'")
        )
        assert rows.all() == [("Lit.", "done")]


async def test_the_answer_of_a_deleted_session_is_dropped(database: Database) -> None:
    turns = Turns(database)
    turn = await turns.begin(ADA, "one", None)
    async with database.session() as db:
        await db.execute(text("DELETE FROM sessions"))
    assert not await turns.finish(turn, "answered", Answer(text="late"))
