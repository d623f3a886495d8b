"""What can go wrong between us and a model server; every provider deals with it the same way."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, AsyncExitStack, aclosing

import httpx
import pytest
from langchain_core.messages import HumanMessage

from nebula.db.engine import Database
from nebula.errors import UpstreamUnavailable
from nebula.llm.provider import Prompt
from tests.cancelling import cancelled_after_each_step
from tests.fakes.scripted import (
    Reply,
    Script,
    drop,
    error_in_stream,
    fail,
    garbage,
    out_of_memory,
    say,
    stall,
)
from tests.fakes.serve import refusing, serve, silent
from tests.nebula.llm.lab import (
    Clock,
    ask,
    every_provider_but_command,
    fake,
    model_of,
    other,
    over,
    provider,
    routing,
    settings_of,
    still,
    stream,
)

pytestmark = every_provider_but_command("it runs in our process: there is nothing in between")


@pytest.mark.parametrize(
    "reply",
    [
        fail(400, "bad request"),
        fail(401, "who are you"),
        fail(404, "no such model"),
        fail(429, retry_after="30"),
        fail(500),
        fail(503),
        out_of_memory(),
        error_in_stream("runner stopped"),
        garbage(),
        drop(),
        stall(),
    ],
    ids=str,
)
async def test_whatever_fails_the_next_provider_answers(
    kind: str, database: Database, reply: Reply
) -> None:
    with Script(reply) as first, Script(say("Here I am")) as second:
        fakes = {kind: fake(kind, first), other(kind): fake(other(kind), second)}
        async with over(database, **fakes) as router:
            assert (await ask(router)).text == "Here I am"


@pytest.mark.parametrize(
    "reply",
    [
        error_in_stream("runner stopped", after="Half a"),
        garbage(after="Half a"),
        drop(after="Half a"),
        stall(after="Half a"),
    ],
    ids=str,
)
async def test_a_break_in_mid_stream_restarts_the_message(
    kind: str, database: Database, reply: Reply
) -> None:
    fakes = {
        kind: fake(kind, Script(reply)),
        other(kind): fake(other(kind), Script(say("A whole"))),
    }
    async with over(database, **fakes) as router:
        heard = await stream(router)
    assert heard.dropped == ["Half a"]
    assert heard.text == "A whole"
    assert heard.message.response_metadata["provider"] == other(kind)


async def test_an_unstreamed_answer_holds_only_the_good_text(kind: str, database: Database) -> None:
    broken = fake(kind, Script(drop(after="Half a")))
    fakes = {kind: broken, other(kind): fake(other(kind), Script(say("A whole")))}
    async with over(database, **fakes) as router:
        assert (await ask(router)).text == "A whole"


async def test_a_single_provider_is_given_a_second_chance(kind: str, database: Database) -> None:
    with Script(fail(500), say("Better")) as script:
        async with over(database, **{kind: fake(kind, script)}) as router:
            assert (await ask(router)).text == "Better"


async def test_cancelling_closes_the_stream(kind: str, database: Database) -> None:
    app = fake(kind, Script(stall(after="Half a")))
    begun = asyncio.Event()
    async with over(database, **{kind: app}) as router:
        router.limits.stall_seconds = 30

        async def listen() -> None:
            async for chunk in router.model("small", caller=None).astream("hello"):
                if chunk.text:
                    begun.set()

        listening = asyncio.create_task(listen())
        await begun.wait()
        listening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listening
        async with asyncio.timeout(5):
            await app.server.left.wait()
        assert [t.failures for t in await router.usage.totals()] == [1], "cancelled is not ok"


async def test_a_reader_that_leaves_early_closes_the_stream(kind: str, database: Database) -> None:
    app = fake(kind, Script(stall(after="Half a")))
    async with over(database, **{kind: app}) as router:
        source = router.model("small", caller=None).astream("hello")
        async for _ in source:
            break
        await source.aclose()
        async with asyncio.timeout(5):
            await app.server.left.wait()


async def test_a_turn_stopped_at_any_moment_leaves_the_only_connection_free(kind: str) -> None:
    limits = httpx.Limits(max_connections=1)
    async with serve(fake(kind)) as url, httpx.AsyncHTTPTransport(limits=limits) as one:
        asked = provider(kind, url, transport=one)
        name = model_of(kind).partition(":")[2]

        async def turn() -> None:
            async with aclosing(asked.stream(name, Prompt([HumanMessage("hello")]))) as chunks:
                assert [chunk async for chunk in chunks]

        async for _ in cancelled_after_each_step(turn):
            async with asyncio.timeout(10):
                await turn()
        await asked.aclose()


@pytest.mark.parametrize("away", [refusing, silent])
async def test_a_provider_that_was_never_there_is_not_tried_in_a_turn(
    kind: str, database: Database, away: Callable[[], AbstractContextManager[str]]
) -> None:
    named = settings_of(model_small=f"{model_of(kind)},{model_of(other(kind))}")
    with Script(say("one"), say("two"), say("three")) as script, away() as nowhere:
        async with serve(fake(other(kind), script)) as url:
            providers = [provider(kind, nowhere), provider(other(kind), url)]
            async with routing(database, providers, settings=named) as router:
                answers = [(await ask(router)).text for _ in range(3)]
                totals = {t.provider: t.calls for t in await router.usage.totals()}
    assert answers == ["one", "two", "three"]
    assert totals == {other(kind): 3}


async def test_a_provider_that_goes_down_costs_one_try_and_comes_back_by_a_probe(
    kind: str, database: Database
) -> None:
    clock = Clock()
    first, again, second = Script(say("a1")), Script(say("a2")), Script(say("b1"), say("b2"))
    async with AsyncExitStack() as stack:
        there = await stack.enter_async_context(serve(fake(other(kind), second)))
        here = AsyncExitStack()
        url = await here.enter_async_context(serve(fake(kind, first)))
        providers = [provider(kind, url), provider(other(kind), there)]
        router = await stack.enter_async_context(still(database, providers, clock))
        assert (await ask(router)).text == "a1"
        await here.aclose()
        assert [(await ask(router)).text for _ in range(2)] == ["b1", "b2"]
        seen = {t.provider: (t.calls, t.failures) for t in await router.usage.totals()}
        assert seen == {kind: (2, 1), other(kind): (2, 0)}
        await stack.enter_async_context(serve(fake(kind, again), port=httpx.URL(url).port or 0))
        await router.refresh()
        assert (await router.status()).providers[0].state == "down", "the probe is not due yet"
        clock.now += 60
        await router.refresh()
        assert (await ask(router)).text == "a2"
    for script in (first, second, again):
        script.check()


async def test_nobody_there_is_a_clear_error_without_command_mode(
    kind: str, database: Database
) -> None:
    with refusing() as nowhere:
        async with routing(database, [provider(kind, nowhere)]) as router:
            with pytest.raises(UpstreamUnavailable, match="No language model answers"):
                await ask(router)
