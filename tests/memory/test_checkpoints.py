"""The threads' store: its own schema, many at once, and little left behind."""

import asyncio
from typing import Any

from langgraph.graph import END, START, MessagesState, StateGraph
from psycopg import AsyncConnection

from memory.checkpoints import BEGINS, SCHEMA, Checkpoints, open_checkpoints, set_up_schema
from nebula.db.engine import Database


async def grown(checkpoints: Checkpoints, thread: str, turns: int) -> None:
    """Write some turns into a thread."""
    graph = StateGraph(MessagesState)
    graph.add_node("answer", _answer)
    graph.add_edge(START, "answer")
    graph.add_edge("answer", END)
    compiled = graph.compile(checkpointer=checkpoints)
    for turn in range(turns):
        await compiled.ainvoke(
            {"messages": [("user", str(turn))]},
            {"configurable": {"thread_id": thread, BEGINS: turn == 0}},
            durability="exit",
        )


async def _answer(state: MessagesState) -> dict[str, Any]:
    return {"messages": [("ai", "yes")]}


async def count(database: Database, table: str) -> int:
    async with await AsyncConnection.connect(database.conninfo) as connection:
        cursor = await connection.execute(f"SELECT count(*) FROM {SCHEMA}.{table}")  # type: ignore[arg-type]
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def test_setting_up_again_and_at_the_same_time_is_harmless(database: Database) -> None:
    await asyncio.gather(*(set_up_schema(database.conninfo) for _ in range(3)))


async def test_many_threads_are_written_at_once(database: Database) -> None:
    async with open_checkpoints(database.conninfo, connections=3) as checkpoints:
        async with asyncio.timeout(60):
            await asyncio.gather(*(grown(checkpoints, f"t{n}", 1) for n in range(40)))
    assert await count(database, "checkpoints") >= 40


async def test_pruning_keeps_the_latest_checkpoint_only(database: Database) -> None:
    async with open_checkpoints(database.conninfo) as checkpoints:
        await grown(checkpoints, "t", 5)
        before = await checkpoints.aget({"configurable": {"thread_id": "t"}})
        await checkpoints.keep_latest(["t"])
        after = await checkpoints.aget({"configurable": {"thread_id": "t"}})
    assert await count(database, "checkpoints") == 1
    assert before is not None
    assert after is not None
    messages = after["channel_values"]["messages"]
    assert messages == before["channel_values"]["messages"]
    assert len(messages) == 10


async def test_pruning_leaves_a_thread_of_one_turn_as_it_is(database: Database) -> None:
    async with open_checkpoints(database.conninfo) as checkpoints:
        await grown(checkpoints, "short", 1)
        await grown(checkpoints, "long", 3)
        before = await checkpoints.aget({"configurable": {"thread_id": "short"}})
        await checkpoints.keep_latest(["short", "long", "unknown"])
        after = await checkpoints.aget({"configurable": {"thread_id": "short"}})
    assert before is not None
    assert before == after
    assert await count(database, "checkpoints") == 2


async def test_a_thread_that_begins_is_not_looked_for(database: Database) -> None:
    async with open_checkpoints(database.conninfo) as checkpoints:
        await grown(checkpoints, "t", 1)
        known = await checkpoints.aget_tuple({"configurable": {"thread_id": "t"}})
        assert known is not None
        at = known.config["configurable"]
        begins = {"configurable": {"thread_id": "t", BEGINS: True}}
        assert await checkpoints.aget_tuple(begins) is None  # type: ignore[arg-type]
        # What this very run wrote is found, by its id.
        assert await checkpoints.aget_tuple({"configurable": {**at, BEGINS: True}}) is not None
        assert BEGINS not in known.metadata
