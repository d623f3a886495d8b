"""The fakes are believed only as far as the vendors' own clients accept them."""

import asyncio
from typing import Any

import httpx
import ollama
import openai
import pytest

from tests.fakes.ollama import FakeOllama
from tests.fakes.openai import FakeOpenAI
from tests.fakes.scripted import (
    Reply,
    Script,
    call,
    calls,
    drop,
    error_in_stream,
    fail,
    garbage,
    out_of_memory,
    overflow,
    say,
    stall,
)
from tests.fakes.serve import refusing, serve, silent

HELLO = [{"role": "user", "content": "hello"}]


async def _pieces(stream: Any) -> list[str]:
    return [part.message.content async for part in await stream]


async def test_the_ollama_client_streams_a_scripted_answer() -> None:
    with Script(say("Good morning to you")) as script:
        async with serve(FakeOllama(script)) as url:
            client = ollama.AsyncClient(url)
            stream = client.chat("llama3.2:3b", HELLO, stream=True)
            assert "".join(await _pieces(stream)) == "Good morning to you"
            await client.close()


async def test_the_ollama_client_sees_parallel_tool_calls_and_counts() -> None:
    app = FakeOllama(Script(calls(("gpu_status", {}), ("jobs_list", {"limit": 3}))))
    async with serve(app) as url:
        client = ollama.AsyncClient(url)
        answer = await client.chat("llama3.2:3b", HELLO)
        await client.close()
    uses = answer.message.tool_calls or []
    assert [(use.function.name, use.function.arguments) for use in uses] == [
        ("gpu_status", {}),
        ("jobs_list", {"limit": 3}),
    ]
    assert answer.prompt_eval_count and answer.eval_count


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (fail(503, "overloaded"), "overloaded"),
        (overflow(), "exceeds the context length"),
        (out_of_memory(), "more system memory"),
        (error_in_stream("runner stopped", after="Hel"), "runner stopped"),
        (call("gpu_status", "{broken"), "error parsing tool call"),
    ],
)
async def test_the_ollama_client_reports_each_refusal(reply: Reply, words: str) -> None:
    async with serve(FakeOllama(Script(reply))) as url:
        client = ollama.AsyncClient(url)
        with pytest.raises(ollama.ResponseError, match=words):
            await _pieces(client.chat("llama3.2:3b", HELLO, stream=True))
        await client.close()


async def test_ollama_loads_unloads_and_runs_out_of_memory() -> None:
    app = FakeOllama(vram_total=6 * 1024**3)
    app.server.lingering = 1
    async with serve(app) as url, httpx.AsyncClient(base_url=url) as http:
        await http.post("/api/generate", json={"model": "llama3.1:8b"})
        loaded = (await http.get("/api/ps")).json()["models"]
        assert [(m["name"], m["size_vram"] > 0) for m in loaded] == [("llama3.1:8b", True)]
        refused = await http.post("/api/generate", json={"model": "llama3.2:3b"})
        assert refused.status_code == 500 and "memory" in refused.json()["error"]
        freed = await http.post("/api/generate", json={"model": "llama3.1:8b", "keep_alive": 0})
        assert freed.json()["done_reason"] == "unload"
        assert len((await http.get("/api/ps")).json()["models"]) == 1, "it lies once"
        assert (await http.get("/api/ps")).json()["models"] == []


async def test_ollama_lists_shows_pulls_and_embeds() -> None:
    async with serve(FakeOllama()) as url:
        client = ollama.AsyncClient(url)
        assert {m.model for m in (await client.list()).models} == {"llama3.2:3b", "llama3.1:8b"}
        assert (await client.show("llama3.1:8b")).capabilities == ["completion", "tools"]
        states = [p.status async for p in await client.pull("new:1b", stream=True)]
        assert states[-1] == "success"
        with pytest.raises(ollama.ResponseError, match="does not exist"):
            _ = [p async for p in await client.pull("missing:1b", stream=True)]
        vectors = (await client.embed("new:1b", ["one", "two", "one"])).embeddings
        assert vectors[0] == vectors[2] != vectors[1]
        await client.close()


async def test_a_fake_works_in_process_without_a_port() -> None:
    transport = httpx.ASGITransport(FakeOllama())
    async with httpx.AsyncClient(transport=transport, base_url="http://ollama") as http:
        assert (await http.get("/api/version")).json() == {"version": "0.11.0"}


async def test_the_openai_client_streams_text_tools_and_usage() -> None:
    with Script(say("Good morning"), calls(("a_b", {"x": 1}), ("c_d", {}))) as script:
        async with serve(FakeOpenAI(script, key="k")) as url:
            client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)
            said = await client.chat.completions.create(
                model="gpt-test",
                messages=HELLO,
                stream=True,
                stream_options={"include_usage": True},
            )
            chunks = [chunk async for chunk in said]
            text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
            assert text == "Good morning"
            assert chunks[-1].usage is not None and chunks[-1].usage.prompt_tokens > 0
            whole = await client.chat.completions.create(model="gpt-test", messages=HELLO)
            uses = whole.choices[0].message.tool_calls or []
            assert [use.function.arguments for use in uses] == ['{"x": 1}', "{}"]
            await client.close()


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (fail(429, retry_after="1"), openai.RateLimitError),
        (fail(503), openai.InternalServerError),
        (overflow(), openai.BadRequestError),
        (error_in_stream("engine died", after="Hel"), openai.APIError),
        (garbage(after="Hel"), ValueError),
        (drop(after="Hel"), Exception),
    ],
)
async def test_the_openai_client_reports_each_refusal(reply: Reply, error: type[Exception]) -> None:
    async with serve(FakeOpenAI(Script(reply))) as url:
        client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)
        with pytest.raises(error):
            stream = await client.chat.completions.create(
                model="gpt-test",
                messages=HELLO,
                stream=True,
            )
            _ = [chunk async for chunk in stream]
        await client.close()


async def test_a_wrong_key_is_refused_and_a_right_one_lists_models() -> None:
    async with serve(FakeOpenAI(key="right")) as url, httpx.AsyncClient(base_url=url) as http:
        assert (await http.get("/v1/models")).status_code == 401
        models = await http.get("/v1/models", headers={"Authorization": "Bearer right"})
        assert models.json()["data"][0]["id"] == "gpt-test"


@pytest.mark.parametrize("kind", [FakeOllama, FakeOpenAI])
async def test_a_stalled_stream_ends_when_the_client_leaves_and_is_counted(
    kind: type[FakeOllama] | type[FakeOpenAI],
) -> None:
    app = kind(Script(stall(after="Hel")))
    path = "/api/chat" if kind is FakeOllama else "/v1/chat/completions"
    model = "llama3.2:3b" if kind is FakeOllama else "gpt-test"
    body = {"model": model, "messages": HELLO, "stream": True}
    async with serve(app) as url, httpx.AsyncClient(base_url=url) as http:
        async with http.stream("POST", path, json=body) as response:
            await anext(response.aiter_raw())
        async with asyncio.timeout(5):
            await app.server.left.wait()


async def test_refusing_and_silent_ports_do_what_they_say() -> None:
    async with httpx.AsyncClient(timeout=0.3) as http:
        with refusing() as url, pytest.raises(httpx.ConnectError):
            await http.get(url)
        with silent() as url, pytest.raises(httpx.ConnectTimeout):
            await http.get(url)


def test_a_script_fails_on_unexpected_and_left_over_turns() -> None:
    with pytest.raises(AssertionError, match="never asked for"), Script(say("one")):
        pass
    script = Script()
    transport = httpx.ASGITransport(FakeOllama(script))

    async def ask() -> None:
        async with httpx.AsyncClient(transport=transport, base_url="http://o") as http:
            await http.post("/api/chat", json={"model": "llama3.2:3b", "messages": HELLO})

    asyncio.run(ask())
    with pytest.raises(AssertionError, match="unexpected"):
        script.check()
