import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import text

from nebula.db.engine import Database
from nebula.errors import InvalidInput
from nebula.events.bus import Event, Events


@pytest.fixture
async def events(database: Database) -> AsyncIterator[Events]:
    async with Events(database, poll_seconds=0.2) as bus:
        yield bus


async def _take(bus: Events, stream: str, count: int, after: int = 0) -> list[Event]:
    taken = []
    async with asyncio.timeout(20):
        follower = bus.follow(stream, after)
        async for event in follower:
            taken.append(event)
            if len(taken) == count:
                break
        await follower.aclose()
    return taken


async def _break_listener(database: Database) -> int:
    async with database.session() as session:
        killed = await session.execute(
            text(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE application_name = 'nebula-events' AND datname = current_database()"
            )
        )
        return killed.scalar_one()


async def test_events_are_numbered_per_stream_and_read_back_in_order(events: Events) -> None:
    assert [await events.publish("a", "said", {"n": n}) for n in range(3)] == [1, 2, 3]
    assert await events.publish("b", "said", {}, owner="u1") == 1
    read = await events.read("a", after=1)
    assert [(e.seq, e.kind, e.data) for e in read] == [(2, "said", {"n": 1}), (3, "said", {"n": 2})]
    assert (await events.read("b"))[0].owner == "u1"


async def test_an_event_of_a_transaction_that_fails_never_happened(
    events: Events, database: Database
) -> None:
    with pytest.raises(RuntimeError):
        async with database.session() as session:
            await events.publish("a", "said", {}, session=session)
            raise RuntimeError("stop")
    assert await events.read("a") == []
    assert await events.publish("a", "said", {}) == 1


async def test_concurrent_publishers_leave_no_gap_and_no_double(events: Events) -> None:
    numbers = await asyncio.gather(*(events.publish("a", "said", {"n": n}) for n in range(60)))
    assert sorted(numbers) == list(range(1, 61))
    assert [e.seq for e in await events.read("a")] == list(range(1, 61))


async def test_a_follower_gets_the_past_then_the_present(events: Events) -> None:
    for n in range(3):
        await events.publish("a", "said", {"n": n})
    follower = asyncio.create_task(_take(events, "a", 5, after=1))
    await events.publish("a", "said", {"n": 3})
    await events.publish("a", "said", {"n": 4})
    await events.publish("a", "said", {"n": 5})
    assert [e.seq for e in await follower] == [2, 3, 4, 5, 6]


async def test_a_long_past_is_delivered_whole(events: Events, database: Database) -> None:
    async with database.session() as session:
        for n in range(1300):
            await events.publish("a", "said", {"n": n}, session=session)
    assert [e.seq for e in await _take(events, "a", 1300)] == list(range(1, 1301))


async def test_a_follower_of_a_stream_without_events_waits_for_the_first(events: Events) -> None:
    follower = asyncio.create_task(_take(events, "quiet", 1))
    await events.publish("other", "said", {})
    await events.publish("quiet", "said", {"first": True})
    assert (await follower)[0].data == {"first": True}


async def test_a_lost_notification_only_delays_an_event(events: Events, database: Database) -> None:
    follower = asyncio.create_task(_take(events, "a", 2))
    await events.publish("a", "said", {})
    async with database.session() as session:  # a row without its NOTIFY
        await session.execute(
            text("INSERT INTO events (stream, seq, kind, data) VALUES ('a', 2, 'said', '{}')")
        )
        await session.execute(text("UPDATE event_streams SET last_seq = 2 WHERE stream = 'a'"))
    assert [e.seq for e in await follower] == [1, 2]


async def test_a_follower_outlives_its_listening_connection(
    events: Events, database: Database
) -> None:
    follower = asyncio.create_task(_take(events, "a", 40))
    killed = 0
    for n in range(40):
        await events.publish("a", "said", {"n": n})
        if n % 10 == 9:
            killed += await _break_listener(database)
    assert [e.seq for e in await follower] == list(range(1, 41))
    assert killed


async def test_followers_cut_after_every_event_and_resumed_see_everything_once(
    events: Events,
) -> None:
    total, seen, after = 300, [], 0

    async def publish_all() -> None:
        for n in range(total):
            await events.publish("a", "said", {"n": n})

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publish_all())
        while len(seen) < total:
            seen += await _take(events, "a", 1, after)  # cut after each event, resume by its number
            after = seen[-1].seq
    assert [e.seq for e in seen] == list(range(1, total + 1))


async def test_many_followers_share_one_connection_and_one_copy_of_each_event(
    events: Events, database: Database
) -> None:
    followers = [asyncio.create_task(_take(events, "a", 20)) for _ in range(100)]
    for n in range(20):
        await events.publish("a", "said", {"n": n})
    results = await asyncio.gather(*followers)
    assert all([e.seq for e in result] == list(range(1, 21)) for result in results)
    assert await _break_listener(database) == 1


async def test_pruned_events_are_skipped_and_their_numbers_stay_used(
    events: Events, database: Database
) -> None:
    for n in range(3):
        await events.publish("a", "said", {"n": n})
    async with database.session() as session:
        await session.execute(text("UPDATE events SET at = now() - interval '2 days'"))
    assert await events.prune(timedelta(days=1)) == 3
    follower = asyncio.create_task(_take(events, "a", 1))
    assert await events.publish("a", "said", {"n": 3}) == 4
    assert [e.seq for e in await follower] == [4]


async def test_closing_ends_every_follower(database: Database) -> None:
    bus = Events(database)
    await bus.publish("a", "said", {})
    seen = []

    async def follow() -> None:
        async for event in bus.follow("a"):
            seen.append(event.seq)
            await bus.close()

    async with asyncio.timeout(10):
        await follow()
    assert seen == [1]


async def test_characters_that_postgresql_refuses_do_not_lose_the_event(events: Events) -> None:
    await events.publish("a", "said", {"text": "nul \x00, lone \ud800", "in": ["\x00"]})
    stored = (await events.read("a"))[0].data
    assert stored == {"text": "nul \ufffd, lone ?", "in": ["\ufffd"]}


@pytest.mark.parametrize("name", ["", "x" * 201])
async def test_a_stream_needs_a_name_of_sensible_length(events: Events, name: str) -> None:
    with pytest.raises(InvalidInput):
        await events.publish(name, "said", {})


async def test_an_event_encodes_itself_once(events: Events) -> None:
    await events.publish("a", "said", {"n": 1})
    event = (await events.read("a"))[0]
    assert event.json is event.json
    assert b'"data":{"n":1}' in event.json
