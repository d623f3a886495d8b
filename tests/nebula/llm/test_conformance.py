"""Every provider does the same, whatever its protocol: one suite for all of them."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, AsyncExitStack, aclosing

import httpx
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from nebula.db.engine import Database
from nebula.errors import UpstreamRejected, UpstreamUnavailable
from nebula.llm.failure import ContextOverflow
from nebula.llm.provider import Prompt
from tests.cancelling import cancelled_after_each_step
from tests.fakes.scripted import (
    Reply,
    Script,
    call,
    calls,
    drop,
    empty,
    error_in_stream,
    fail,
    garbage,
    out_of_memory,
    overflow,
    say,
    stall,
)
from tests.fakes.serve import refusing, serve, silent
from tests.nebula.llm.lab import (
    TOOLS,
    Clock,
    ask,
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

pytestmark = pytest.mark.parametrize("kind", ["ollama", "openai"])


async def test_it_answers_and_names_who_answered(kind: str, database: Database) -> None:
    with Script(say("Good morning to you")) as script:
        async with over(database, **{kind: fake(kind, script)}) as router:
            answer = await ask(router)
    assert answer.text == "Good morning to you"
    assert answer.response_metadata["provider"] == kind
    assert answer.response_metadata["model_name"] in {"llama3.2:3b", "gpt-test"}
    assert answer.usage_metadata and answer.usage_metadata["input_tokens"] > 0


async def test_it_streams_word_by_word(kind: str, database: Database) -> None:
    async with over(database, **{kind: fake(kind, Script(say("Good morning to you")))}) as router:
        heard = await stream(router)
    assert heard.text == "Good morning to you"
    assert len([c for c in heard.chunks if c.text]) == 4
    assert heard.message.usage_metadata and heard.message.usage_metadata["output_tokens"] > 0


async def test_text_of_any_script_and_any_line_end_arrives_whole(
    kind: str, database: Database
) -> None:
    text = "Grüße, 你好 🎬\u2028next\x85line\r\nend"
    async with over(database, **{kind: fake(kind, Script(say(text)))}) as router:
        assert (await stream(router)).text == text


@pytest.mark.parametrize("streamed", [True, False])
async def test_it_calls_tools_in_parallel(kind: str, database: Database, streamed: bool) -> None:
    reply = calls(("gpu_status", {}), ("jobs_list", {"limit": 3}))
    async with over(database, **{kind: fake(kind, Script(reply))}) as router:
        answer = (await stream(router)).message if streamed else await ask(router)
    assert [(c["name"], c["args"]) for c in answer.tool_calls] == [
        ("gpu_status", {}),
        ("jobs_list", {"limit": 3}),
    ]
    assert not answer.invalid_tool_calls


async def test_tool_results_travel_back_to_the_model(kind: str, database: Database) -> None:
    app = fake(kind, Script(say("It is idle.")))
    history = [
        HumanMessage("gpu?"),
        AIMessage("", tool_calls=[{"name": "gpu_status", "args": {"limit": 1}, "id": "c1"}]),
        ToolMessage("idle", tool_call_id="c1", name="gpu_status"),
    ]
    async with over(database, **{kind: app}) as router:
        model = router.model("small", caller=None).bind_tools(TOOLS)
        assert (await model.ainvoke(history)).text == "It is idle."
    (request,) = app.server.requests
    assert [m["role"] for m in request.messages] == ["user", "assistant", "tool"]
    assert request.tools == ["gpu_status", "jobs_list"]


async def test_malformed_arguments_are_repaired_once(kind: str, database: Database) -> None:
    with Script(call("gpu_status", "{broken"), call("gpu_status", {"limit": 2})) as script:
        async with over(database, **{kind: fake(kind, script)}) as router:
            answer = await ask(router)
    assert [c["args"] for c in answer.tool_calls] == [{"limit": 2}]
    complaint = script.requests[1].last["content"]
    assert "gpu_status" in complaint or "broken" in complaint


async def test_malformed_arguments_twice_are_a_clear_error(kind: str, database: Database) -> None:
    bad = call("gpu_status", "[1, 2")
    with Script(bad, bad) as script:
        async with over(database, **{kind: fake(kind, script)}) as router:
            with pytest.raises(UpstreamRejected, match="arguments that cannot be read"):
                await ask(router)


async def test_an_empty_answer_is_asked_for_again_and_then_elsewhere(
    kind: str, database: Database
) -> None:
    with Script(empty(), empty()) as first, Script(say("Here")) as second:
        fakes = {kind: fake(kind, first), other(kind): fake(other(kind), second)}
        async with over(database, **fakes) as router:
            assert (await ask(router)).text == "Here"


async def test_an_overflow_is_a_typed_error(kind: str, database: Database) -> None:
    with Script(overflow()) as script:
        async with over(database, **{kind: fake(kind, script)}) as router:
            with pytest.raises(ContextOverflow):
                await ask(router)


async def test_an_overflow_tries_a_provider_that_may_read_more(
    kind: str, database: Database
) -> None:
    fakes = {
        kind: fake(kind, Script(overflow())),
        other(kind): fake(other(kind), Script(say("ok"))),
    }
    async with over(database, **fakes) as router:
        assert (await ask(router)).text == "ok"


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
