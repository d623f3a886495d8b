"""Turns over the real router and real wire protocols, whose servers can misbehave."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import langchain_ollama  # noqa: F401 - importing takes longer than a connect time-out
import langchain_openai  # noqa: F401

from graphs.events import ChatEvent
from graphs.jarvis.service import Jarvis, open_jarvis
from nebula.app import App, open_app
from nebula.auth.principal import Caller
from nebula.settings import Settings
from nebula.tool.registry import Registry
from tests.fakes.ollama import LLAMA_3B, FakeOllama
from tests.fakes.openai import FakeOpenAI
from tests.fakes.scripted import Script, call, calls, drop, stall
from tests.fakes.scripted import say as answer
from tests.fakes.serve import serve
from tests.graphs.lab import ALL, DONE, ROSTER, only, say


@asynccontextmanager
async def house(settings: Settings, **models: str) -> AsyncIterator[tuple[App, Jarvis]]:
    """Open Jarvis over model servers at real addresses."""
    settings = settings.model_copy(update=models)
    async with (
        open_app(settings, registry=Registry(ALL)) as app,
        open_jarvis(app, roster=ROSTER) as jarvis,
    ):
        yield app, jarvis


def openai_at(url: str) -> dict[str, str]:
    return {
        "openai_base_url": f"{url}/v1",
        "model_large": "openai:gpt-test",
        "model_small": "openai:gpt-test",
        "ollama_host": "http://127.0.0.1:9",
    }


@asynccontextmanager
async def thinking(settings: Settings, script: Script) -> AsyncIterator[Jarvis]:
    """Open Jarvis over one OpenAI-compatible server."""
    async with (
        serve(FakeOpenAI(script)) as url,
        house(settings, **openai_at(url)) as (_, jarvis),
    ):
        yield jarvis


async def test_one_domain_costs_two_requests_and_few_tokens(
    settings: Settings, ada: Caller
) -> None:
    script = Script(call("lamps_light", {"name": "porch"}), answer("The porch is lit."))
    async with thinking(settings, script) as jarvis:
        events = await say(jarvis, ada, "please light the porch lamp")
    script.check()
    assert DONE == ["light porch"]
    assert only(events, "message")[-1].text == "The porch is lit."
    assert (events[0].model, events[-1].model_calls) == ("openai:gpt-test", 2)
    assert events[-1].prompt_tokens == sum(request.characters // 4 for request in script.requests)
    assert events[-1].prompt_tokens < 2_500


async def test_a_model_that_repeats_its_call_ids_still_acts_each_time(
    settings: Settings, ada: Caller
) -> None:
    light = call("lamps_light", {"name": "porch"})
    script = Script(light, answer("Lit."), light, answer("Lit again."))
    async with thinking(settings, script) as jarvis:
        events = await say(jarvis, ada, "please light the porch lamp")
        session_id = events[0].session_id
        await say(jarvis, ada, "please light the porch lamp again", session_id=session_id)
    assert DONE == ["light porch", "light porch"]


async def test_parallel_calls_over_the_wire_all_run(settings: Settings, ada: Caller) -> None:
    both = calls(("lamps_light", {"name": "porch"}), ("lamps_light", {"name": "hall"}))
    script = Script(both, answer("Both."))
    async with thinking(settings, script) as jarvis:
        await say(jarvis, ada, "please light the porch and hall lamps")
    assert sorted(DONE) == ["light hall", "light porch"]
    assert [message["role"] for message in script.requests[1].messages[-3:]] == [
        "assistant",
        "tool",
        "tool",
    ]


async def test_a_fallback_in_mid_message_begins_the_message_anew(
    settings: Settings, ada: Caller
) -> None:
    first, second = Script(drop("Hello there, I")), Script(answer("Good answer."))
    ollama = FakeOllama(first, installed={"llama3.2:3b": LLAMA_3B})
    async with serve(ollama) as here, serve(FakeOpenAI(second)) as there:
        models = {
            "ollama_host": here,
            "openai_base_url": f"{there}/v1",
            "model_large": "ollama:llama3.2:3b,openai:gpt-test",
        }
        async with house(settings, **models) as (_, jarvis):
            events = await say(jarvis, ada, "please tell me something good")
    assert events[-1].outcome == "answered"
    assert shown(events) == "Good answer."
    assert only(events, "message")[-1].text == "Good answer."


async def test_cancelling_hangs_up_on_the_model_server(settings: Settings, ada: Caller) -> None:
    fake = FakeOpenAI(Script(stall("Let me think about")))
    async with serve(fake) as url, house(settings, **openai_at(url)) as (_, jarvis):
        turn = jarvis.send(ada, "please think about the lamps for long")
        events = [await anext(turn)]
        while events[-1].type != "token":
            events.append(await anext(turn))
        session_id = events[0].session_id  # type: ignore[union-attr]
        assert await jarvis.cancel(ada, session_id)
        events += [event async for event in turn]
        async with asyncio.timeout(10):
            await fake.server.left.wait()
        [_, kept] = await jarvis.sessions.messages(session_id, ada.principal)
    assert events[-1].outcome == "cancelled"  # type: ignore[union-attr]
    assert kept.status == "cancelled"
    assert kept.text.startswith("Let")


async def test_with_every_server_down_commands_still_work(settings: Settings, ada: Caller) -> None:
    async with house(settings, ollama_host="http://127.0.0.1:9") as (_, jarvis):
        events = await say(jarvis, ada, "light the lamp porch")
        other = await say(jarvis, ada, "sing me a song about everything")
    assert (events[0].model, events[-1].outcome, DONE) == ("command", "answered", ["light porch"])
    assert other[-1].outcome == "answered"
    assert only(other, "message")[-1].text


def shown(events: list[ChatEvent]) -> str:
    """Return what a surface has on screen when it only follows the tokens."""
    text = ""
    for token in only(events, "token"):
        text = token.text if token.restart else text + token.text
    return text
