"""Tiers, choices, eviction, usage, and command mode at the end."""

import operator
from collections.abc import AsyncIterator
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.language_models.fake_chat_models import ParrotFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langgraph.graph import END, START, StateGraph

from nebula.auth.principal import Caller, Principal, Role, Surface
from nebula.db.engine import Database
from nebula.errors import InvalidInput, NotFound
from nebula.llm.failure import ContextOverflow
from nebula.llm.ollama import ollama_url
from nebula.llm.open import make_providers
from nebula.llm.router import Router
from tests.fakes.ollama import LLAMA_3B, LLAMA_8B, LLAVA, NOMIC, FakeOllama
from tests.fakes.openai import FakeOpenAI
from tests.fakes.scripted import ModelRequest, Reply, Script, drop, out_of_memory, say
from tests.fakes.serve import refusing, serve
from tests.nebula.llm.lab import (
    LIMITS,
    TOOLS,
    Clock,
    ask,
    over,
    provider,
    routing,
    settings_of,
    still,
    stream,
)

CALLER = Caller(
    Principal(id="u1", name="ada", role=Role.ADMIN, permissions=frozenset({"*:*"})),
    Surface.CHAT,
    session_id="s1",
)


def name_of_model(request: ModelRequest) -> Reply:
    return say(request.model)


async def test_tiers_fill_themselves_from_what_ollama_has(database: Database) -> None:
    app = FakeOllama(installed={"a:8b": LLAMA_8B, "b:3b": LLAMA_3B, "llava": LLAVA, "nomic": NOMIC})
    async with over(database, ollama=app) as router:
        tiers = {t.tier: t.active for t in (await router.status()).tiers}
    assert tiers == {
        "small": "ollama:b:3b",
        "large": "ollama:a:8b",
        "vision": "ollama:llava",
        "embed": "ollama:nomic",
    }


async def test_settings_name_models_in_order_and_nothing_else_is_asked(
    database: Database,
) -> None:
    settings = settings_of(model_small="openai:gpt-test, ollama:llama3.1:8b")
    with Script(drop()) as hosted:
        async with (
            serve(FakeOpenAI(hosted)) as there,
            serve(FakeOllama(name_of_model)) as here,
            routing(
                database,
                [provider("ollama", here), provider("openai", there)],
                settings=settings,
            ) as router,
        ):
            assert (await ask(router)).text == "llama3.1:8b"


def test_a_model_name_that_cannot_be_read_fails_the_start_with_its_setting(
    database: Database,
) -> None:
    with pytest.raises(InvalidInput, match="JARVIS_MODEL_LARGE"):
        Router(settings_of(model_large="gpt-4o"), [], database)


async def test_a_switch_is_kept_and_followed_by_other_processes(database: Database) -> None:
    app = FakeOllama(name_of_model)
    async with serve(app) as url:
        async with routing(database, [provider("ollama", url)]) as router:
            assert (await ask(router)).text == "llama3.2:3b"
            await router.switch("small", "ollama:llama3.1:8b", by="ada")
            assert (await ask(router)).text == "llama3.1:8b"
        async with still(database, [provider("ollama", url)], Clock()) as elsewhere:
            assert (await ask(elsewhere)).text == "llama3.1:8b"
            await elsewhere.switch("small", "auto")
            assert (await ask(elsewhere)).text == "llama3.2:3b"


async def test_a_running_process_reads_a_switch_made_elsewhere(database: Database) -> None:
    async with serve(FakeOllama(name_of_model)) as url:
        ours, theirs = provider("ollama", url), provider("ollama", url)
        async with (
            still(database, [ours], Clock()) as router,
            still(database, [theirs], Clock()) as elsewhere,
        ):
            await elsewhere.switch("small", "ollama:llama3.1:8b")
            await router.refresh()
            assert (await ask(router)).text == "llama3.1:8b"


@pytest.mark.parametrize(
    ("tier", "choice", "error"),
    [
        ("huge", "auto", InvalidInput),
        ("small", "llama", InvalidInput),
        ("small", "", InvalidInput),
        ("small", "anthropic:claude", NotFound),
        ("small", "ollama:not-there:1b", NotFound),
    ],
)
async def test_a_switch_to_what_is_not_there_is_refused(
    database: Database, tier: str, choice: str, error: type[Exception]
) -> None:
    async with over(database, ollama=FakeOllama()) as router:
        await router.status()
        with pytest.raises(error):
            await router.switch(tier, choice)


class Commands(ParrotFakeChatModel):
    """Stands where command mode stands: it answers without a provider."""

    async def _astream(self, messages: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        from langchain_core.outputs import ChatGenerationChunk

        text = f"command: {messages[-1].text} {kwargs['bound']}"
        yield ChatGenerationChunk(message=AIMessageChunk(content=text, chunk_position="last"))


async def test_command_mode_answers_last_and_is_recorded(database: Database) -> None:
    with refusing() as nowhere:
        async with routing(
            database, [provider("ollama", nowhere)], command=lambda _: Commands()
        ) as router:
            answer = await ask(router, "gpu status")
            active = {t.tier: t.active for t in (await router.status()).tiers}
            totals = await router.usage.totals()
    bound = tuple(tool["function"]["name"] for tool in TOOLS)
    assert answer.text == f"command: gpu status {bound}"
    assert active == {"small": "command", "large": "command", "vision": "command", "embed": ""}
    assert [(t.provider, t.calls) for t in totals] == [("command", 1)]


async def test_command_mode_takes_over_a_half_streamed_message(database: Database) -> None:
    broken = FakeOllama(
        Script(drop(after="Half a"), drop(after="Half b")), installed={"m": LLAMA_3B}
    )
    async with (
        serve(broken) as url,
        routing(database, [provider("ollama", url)], command=lambda _: Commands()) as router,
    ):
        heard = await stream(router, "gpu status")
    assert heard.dropped == ["Half a", "Half b"]
    assert heard.text.startswith("command: gpu status")


async def test_choosing_command_mode_asks_no_provider(database: Database) -> None:
    app = FakeOllama(Script())
    async with (
        serve(app) as url,
        routing(database, [provider("ollama", url)], command=lambda _: Commands()) as router,
    ):
        await router.switch("small", "command")
        assert (await ask(router, "gpu status")).text.startswith("command:")
    assert app.server.requests == []


async def test_an_evicted_model_is_left_alone_until_it_is_back(database: Database) -> None:
    gone: list[str] = []

    async def evicted() -> list[str]:
        return gone

    async with (
        serve(FakeOllama(name_of_model)) as url,
        still(database, [provider("ollama", url)], Clock(), evicted=evicted) as router,
    ):
        router.evict("ollama:llama3.2:3b")
        assert (await ask(router)).text == "llama3.1:8b"
        router.restore("ollama:llama3.2:3b")
        assert (await ask(router)).text == "llama3.2:3b"
        gone.append("ollama:llama3.2:3b")
        await router.refresh()
        assert (await ask(router)).text == "llama3.1:8b"
        assert (await router.status()).evicted == ["ollama:llama3.2:3b"]


async def test_a_model_that_does_not_fit_the_gpu_rests_while_a_smaller_one_answers(
    database: Database,
) -> None:
    with Script(out_of_memory(), say("small one"), say("small one again")) as script:
        async with serve(FakeOllama(script)) as url:
            settings = settings_of(model_small="ollama:llama3.1:8b,ollama:llama3.2:3b")
            async with routing(database, [provider("ollama", url)], settings=settings) as router:
                assert (await ask(router)).text == "small one"
                assert (await ask(router)).text == "small one again"
    assert [r.model for r in script.requests] == ["llama3.1:8b", "llama3.2:3b", "llama3.2:3b"]


async def test_a_prompt_that_ollama_would_cut_silently_is_refused_before_it_is_sent(
    database: Database,
) -> None:
    app = FakeOllama(Script())
    async with (
        serve(app) as url,
        routing(database, [provider("ollama", url, num_ctx=1000)]) as router,
    ):
        with pytest.raises(ContextOverflow):
            await ask(router, "word " * 1000)
    assert app.server.requests == []


async def test_num_ctx_is_always_sent(database: Database) -> None:
    app = FakeOllama()
    async with (
        serve(app) as url,
        routing(database, [provider("ollama", url, num_ctx=4321)]) as router,
    ):
        await ask(router)
    assert app.server.requests[0].body["options"]["num_ctx"] == 4321


async def test_usage_is_kept_per_session_and_person(database: Database) -> None:
    async with over(database, ollama=FakeOllama(Script(say("one two"), say("three")))) as router:
        model = router.model("small", caller=CALLER)
        await model.ainvoke("hello")
        await model.ainvoke("again")
        (total,) = await router.usage.totals(session_id="s1")
        assert await router.usage.totals(session_id="other") == []
    assert (total.provider, total.model, total.calls, total.failures) == (
        "ollama",
        "llama3.2:3b",
        2,
        0,
    )
    assert total.input_tokens > 0 and total.output_tokens == 3


async def test_usage_waits_while_the_database_is_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with refusing() as nowhere:
        away = Database(nowhere.replace("http://", "postgresql://x@") + "/x")
        async with (
            serve(FakeOllama()) as url,
            still(away, [provider("ollama", url)], Clock()) as router,
        ):
            assert (await ask(router)).text
            await router.refresh()
            router.usage._db = database
            assert [t.calls for t in await router.usage.totals()] == [1]
        await away.close()


class Talk(TypedDict):
    messages: Annotated[list[Any], operator.add]


async def test_langgraph_sees_tokens_and_a_restart_under_a_new_id(database: Database) -> None:
    fakes = {
        "ollama": FakeOllama(Script(drop(after="Half a")), installed={"m": LLAMA_3B}),
        "openai": FakeOpenAI(Script(say("A whole answer"))),
    }
    async with over(database, **fakes) as router:

        async def think(state: Talk) -> Talk:
            answer = await router.model("small", caller=None).ainvoke(state["messages"])
            return {"messages": [answer]}

        graph = StateGraph(Talk).add_node("think", think)
        graph = graph.add_edge(START, "think").add_edge("think", END)
        seen: list[AIMessageChunk] = []
        final: list[AIMessage] = []
        start = {"messages": [HumanMessage("hi")]}
        async for mode, data in graph.compile().astream(start, stream_mode=["messages", "values"]):
            if mode == "messages":
                seen.append(data[0])
            else:
                final = data["messages"]
    ids = list(dict.fromkeys(chunk.id for chunk in seen))
    assert len(ids) == 2
    assert "".join(c.text for c in seen if c.id == ids[0]) == "Half a"
    assert "".join(c.text for c in seen if c.id == ids[1]) == "A whole answer"
    assert next(c.response_metadata.get("restart") for c in seen if c.id == ids[1])
    assert (final[-1].text, final[-1].id) == ("A whole answer", ids[1])


async def test_embeddings_come_from_the_first_provider_that_has_them(database: Database) -> None:
    fakes = {
        "ollama": FakeOllama(installed={"nomic": NOMIC}),
        "openai": FakeOpenAI(models=("text-embedding-3-small",)),
    }
    async with over(database, **fakes) as router:
        name, vectors = await router.embed(["one", "two", "one"])
        assert name == "ollama:nomic"
        assert vectors[0] == vectors[2] != vectors[1]
        router.evict("ollama:nomic")
        name, vectors = await router.embed(["one", "two", "one"])
    assert name == "openai:text-embedding-3-small"
    assert vectors[0] == vectors[2] != vectors[1]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("nas:5000", "http://nas:5000"),
        ("http://nas", "http://nas"),
        ("https://ai.example/ollama", "https://ai.example/ollama"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(written: str, read: str) -> None:
    assert str(ollama_url(written)) == read


async def test_openai_is_there_with_a_key_or_with_a_server_of_ones_own() -> None:
    def names(**more: str) -> list[str]:
        return [p.name for p in make_providers(settings_of(**more), LIMITS)]

    assert names() == ["ollama"]
    assert names(openai_api_key="sk-1") == ["ollama", "openai"]
    assert names(openai_base_url="http://nas:8000/v1") == ["ollama", "openai"]
