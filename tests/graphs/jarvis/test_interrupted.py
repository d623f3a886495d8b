"""Turns that are cancelled, crash, or lose their reader."""

import asyncio

from graphs.jarvis.caretaker import Pace
from nebula.auth.principal import Caller, Surface
from nebula.settings import Settings
from tests.graphs.hearing import assert_whole, until, until_done
from tests.graphs.lab import DONE, GATE, call, calls, lab, only, say, script


async def test_cancelling_stops_the_turn_and_the_thread_goes_on(
    settings: Settings, ada: Caller
) -> None:
    policy = script(calls(call("lamps_wait")), "Here I am again.")
    async with lab(settings, policy) as world:
        session = await world.jarvis.sessions.create(ada.principal, Surface.CHAT)
        turn = asyncio.create_task(
            say(world.jarvis, ada, "please wait until the lamp is ready", session_id=session.id)
        )
        await until(lambda: "wait" in DONE)
        assert await world.jarvis.cancel(ada, session.id)
        assert (await turn)[-1].outcome == "cancelled"
        assert not await world.jarvis.cancel(ada, session.id)
        events = await say(world.jarvis, ada, "are you there again?", session_id=session.id)
        history, _ = world.model.asked[-1]
        transcript = await world.jarvis.sessions.messages(session.id, ada.principal)
    assert events[-1].outcome == "answered"
    assert [message.status for message in transcript if message.role == "assistant"] == [
        "cancelled",
        "done",
    ]
    assert_whole(history)
    assert "please wait until the lamp is ready" in str(history)


async def test_a_turn_cancelled_from_another_process_stops(settings: Settings, ada: Caller) -> None:
    policy = script(calls(call("lamps_wait")))
    async with lab(settings, policy, pace=Pace(beat=0.05)) as here, lab(settings) as elsewhere:
        session = await here.jarvis.sessions.create(ada.principal, Surface.CHAT)
        turn = asyncio.create_task(
            say(here.jarvis, ada, "please wait until the lamp is ready", session_id=session.id)
        )
        await until(lambda: "wait" in DONE)
        assert await elsewhere.jarvis.cancel(ada, session.id)
        async with asyncio.timeout(10):
            assert (await turn)[-1].outcome == "cancelled"


async def test_a_session_goes_on_after_a_crash_in_mid_turn(settings: Settings, ada: Caller) -> None:
    policy = script(calls(call("lamps_wait")), "Still here.")
    async with lab(settings, policy, stale_seconds=0.2, pace=Pace(beat=60)) as world:
        session = await world.jarvis.sessions.create(ada.principal, Surface.CHAT)
        crashed = world.jarvis.send(
            ada, "please wait until the lamp is ready", session_id=session.id
        )
        await anext(crashed)
        await until(lambda: "wait" in DONE)
        # The process dies: nothing of the turn is written any more.
        [task] = world.jarvis._tasks.values()
        world.jarvis._runner._finish = _nothing  # type: ignore[method-assign]
        task.cancel()
        await asyncio.wait([task])
    async with lab(settings, script("Still here."), stale_seconds=0.2) as world:
        events = await say(world.jarvis, ada, "are you there after all?", session_id=session.id)
        history, _ = world.model.asked[-1]
    assert only(events, "message")[0].text == "Still here."
    assert_whole(history)
    assert "please wait until the lamp is ready" in str(history)


async def test_a_reader_that_leaves_does_not_stop_the_turn(settings: Settings, ada: Caller) -> None:
    policy = script(calls(call("lamps_wait")), "Done all the same.")
    async with lab(settings, policy) as world:
        reading = world.jarvis.send(ada, "please wait until the lamp is ready")
        session_id = (await anext(reading)).session_id  # type: ignore[union-attr]
        await reading.aclose()  # type: ignore[attr-defined]
        await until(lambda: "wait" in DONE)
        following = asyncio.create_task(until_done(world.jarvis.follow(ada, session_id)))
        GATE.event.set()
        events = await following
        [_, answer] = await world.jarvis.sessions.messages(session_id, ada.principal)
    assert events[-1].outcome == "answered"
    assert events[0].seq == 1
    assert answer.text == "Done all the same."


async def test_a_turn_is_followed_from_another_process(settings: Settings, ada: Caller) -> None:
    policy = script(calls(call("lamps_wait")), "Done all the same.")
    async with lab(settings, policy) as here, lab(settings) as elsewhere:
        reading = here.jarvis.send(ada, "please wait until the lamp is ready")
        session_id = (await anext(reading)).session_id  # type: ignore[union-attr]
        await until(lambda: "wait" in DONE)
        following = asyncio.create_task(until_done(elsewhere.jarvis.follow(ada, session_id)))
        await asyncio.sleep(0)
        GATE.event.set()
        async with asyncio.timeout(15):
            events = await following
    assert [events[0].type, events[-1].type] == ["session", "done"]
    assert only(events, "message")[0].text == "Done all the same."


async def _nothing(*_: object) -> None:
    return None


async def test_one_turn_can_be_followed_though_another_has_begun(
    settings: Settings, ada: Caller
) -> None:
    """What draws an answer late, or again, never draws the next one in its place."""
    policy = script("The first.", calls(call("lamps_wait")), "The second.")
    async with lab(settings, policy) as here, lab(settings) as elsewhere:
        said = await say(here.jarvis, ada, "please say the first thing")
        session_id, turn_id = said[0].session_id, said[0].turn_id
        second = asyncio.create_task(
            say(here.jarvis, ada, "please wait until the lamp is ready", session_id=session_id)
        )
        await until(lambda: "wait" in DONE)
        again = [
            only(
                [event async for event in each.jarvis.follow(ada, session_id, turn_id)], "message"
            )[0].text
            for each in (here, elsewhere)
        ]
        here.jarvis._streams.pop(turn_id)
        told = [event async for event in here.jarvis.resume(ada, session_id, turn_id)]
        GATE.event.set()
        await second
        strange = [event async for event in here.jarvis.follow(ada, session_id, "trn_none")]
    assert again == ["The first.", "The first."]
    assert only(told, "message")[0].text == "The first."
    assert strange == []
