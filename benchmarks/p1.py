"""P1: CPU time of a turn with one tool call and an answer, 150 tools registered.

Ours is the whole product: a session and a turn in PostgreSQL, retrieval of the tools that fit,
the router, policy, audit, checkpoint and events; it streams. Peers bind all 150 tools, as they
do by default, and run the same call and answer unstreamed; LangGraph once in memory, once with
its PostgreSQL checkpointer (the base of the ratios), and once more so while streaming. The limit
is two bare HTTP posts. Every turn is a new thread with new words. The model server and PostgreSQL
are processes of their own; what is measured is the CPU time of the client process, all threads,
each contender in its own process; numpy multiplies with the kernels that it finds for this machine.
"""

import asyncio
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from benchmarks.catalogue import registry
from benchmarks.server import MODEL, served
from benchmarks.table import show

WARM, TURNS, ROUNDS = 20, 100, 3
Turn = Callable[[str], Awaitable[str]]


def words(number: int) -> str:
    """Return a request that is new each time."""
    return f"Before render {number} begins: how much memory do my docker containers eat up?"


@asynccontextmanager
async def httpx_alone(url: str) -> AsyncIterator[Turn]:
    """Post what ours posts, with nothing around it: the floor."""
    import httpx

    from graphs.schemas import Schemas

    tools = registry()
    bound = Schemas(tools).of([tool.name for tool in tools][:8])
    async with httpx.AsyncClient() as client:

        async def turn(text: str) -> str:
            answer = ""
            for _ in range(2):
                body = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
                sent = await client.post(f"{url}/chat/completions", json={**body, "tools": bound})
                answer = sent.json()["choices"][0]["message"]["content"] or "answered"
            return answer

        yield turn


@asynccontextmanager
async def ours(url: str) -> AsyncIterator[Turn]:
    """Use the product as it is, over its embedded database."""
    async with product(url) as say:

        async def turn(text: str) -> str:
            events = await say(text)
            done = events[-1]
            assert done.type == "done" and done.outcome == "answered", events
            assert done.model_calls == 2, done
            return str(next(e.text for e in reversed(events) if e.type == "message"))

        yield turn


@asynccontextmanager
async def product(url: str) -> AsyncIterator[Callable[[str], Awaitable[list[Any]]]]:
    """Open the product; yield a function that says something to it and returns the events."""
    from graphs.jarvis.service import open_jarvis
    from knowledge.manual import ensure_manual
    from nebula.app import open_app
    from nebula.auth.principal import Caller, Role, Surface
    from nebula.log import configure_logging

    configure_logging(level="ERROR")
    with tempfile.TemporaryDirectory(prefix="p1-") as home:
        settings = _settings(url, Path(home))
        async with open_app(settings, registry=registry()) as app, open_jarvis(app) as jarvis:
            await ensure_manual(app.parts)  # or its first indexing would run beside the turns
            person = await app.parts.auth.create_user("bench", Role.ADMIN)
            caller = Caller(person, Surface.CHAT)

            async def say(text: str) -> list[Any]:
                return [event async for event in jarvis.send(caller, text)]

            yield say


def _settings(url: str, home: Path) -> Any:
    from nebula.settings import Settings

    return Settings(
        _env_file=None,
        home=home,
        ollama_host="http://127.0.0.1:9",
        openai_base_url=url,
        openai_api_key=SecretStr("bench"),
        model_small=f"openai:{MODEL}",
        model_large=f"openai:{MODEL}",
    )


@asynccontextmanager
async def langgraph(
    url: str, checkpoints: Any = None, *, streaming: bool = False
) -> AsyncIterator[Turn]:
    """LangChain's create_agent with every tool bound."""
    from langchain.agents import create_agent
    from langchain_openai import ChatOpenAI
    from langgraph.checkpoint.memory import InMemorySaver

    from benchmarks.peers import langchain_tools

    model = ChatOpenAI(model=MODEL, base_url=url, api_key=SecretStr("bench"), streaming=streaming)
    agent = create_agent(model, langchain_tools(), checkpointer=checkpoints or InMemorySaver())

    async def turn(text: str) -> str:
        config: Any = {"configurable": {"thread_id": text}}
        said: Any = {"messages": [("user", text)]}
        final = await agent.ainvoke(said, config)
        return str(final["messages"][-1].text)

    yield turn


@asynccontextmanager
async def langgraph_postgres(url: str, *, streaming: bool = False) -> AsyncIterator[Turn]:
    """The same with LangGraph's PostgreSQL checkpointer."""
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

    from nebula.db.embedded import EmbeddedPostgres

    with tempfile.TemporaryDirectory(prefix="p1-") as home:
        server = EmbeddedPostgres(Path(home))
        address = await asyncio.to_thread(server.start)
        try:
            async with AsyncPostgresSaver.from_conn_string(address) as saver:
                await saver.setup()
                async with langgraph(url, saver, streaming=streaming) as turn:
                    yield turn
        finally:
            await asyncio.to_thread(server.stop)


@asynccontextmanager
async def agno(url: str) -> AsyncIterator[Turn]:
    """Agno's agent with every tool bound, in memory."""
    from agno.agent import Agent
    from agno.models.openai.like import OpenAILike

    from benchmarks.peers import agno_tools

    model = OpenAILike(id=MODEL, base_url=url, api_key="bench")
    agent = Agent(model=model, tools=agno_tools(), telemetry=False)

    async def turn(text: str) -> str:
        return str((await agent.arun(text)).content)

    yield turn


@asynccontextmanager
async def pydantic_ai(url: str) -> AsyncIterator[Turn]:
    """Pydantic AI's agent with every tool bound, in memory."""
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    from benchmarks.peers import pydantic_ai_tools

    provider = OpenAIProvider(base_url=url, api_key="bench")
    agent = Agent(OpenAIChatModel(MODEL, provider=provider), tools=pydantic_ai_tools())

    async def turn(text: str) -> str:
        return str((await agent.run(text)).output)

    yield turn


CONTENDERS: dict[str, tuple[str, Any, str]] = {
    "httpx": ("bare httpx, two posts (limit)", httpx_alone, "httpx"),
    "ours": ("Nebula Command, everything on", ours, "graphs"),
    "agno": ("agno, in memory", agno, "agno"),
    "langgraph": ("LangGraph create_agent, in memory", langgraph, "langchain"),
    "postgres": ("LangGraph create_agent + PostgreSQL", langgraph_postgres, "langchain"),
    "streaming": (
        "the same, streaming as ours does",
        partial(langgraph_postgres, streaming=True),
        "langchain",
    ),
    "pydantic_ai": ("pydantic-ai, in memory", pydantic_ai, "pydantic_ai"),
}


async def measure(name: str, url: str) -> dict[str, float]:
    """Take the CPU and wall time of a contender's turn, in ms: the median of the rounds."""
    async with CONTENDERS[name][1](url) as turn:
        for number in range(WARM):
            assert await turn(words(number))
        cpu, wall = [], []
        for round_number in range(ROUNDS):
            begun, started = time.process_time(), time.perf_counter()
            for number in range(TURNS):
                await turn(words(1000 * (round_number + 1) + number))
            cpu.append((time.process_time() - begun) * 1000 / TURNS)
            wall.append((time.perf_counter() - started) * 1000 / TURNS)
    return {"cpu": statistics.median(cpu), "wall": statistics.median(wall)}


def _environment() -> dict[str, str]:
    """Return this environment without what keeps numpy from the processor's own kernels."""
    return {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}


def main() -> None:
    """Print the table; with a name and an address, one contender as JSON."""
    if len(sys.argv) == 3:
        print(json.dumps(asyncio.run(measure(sys.argv[1], sys.argv[2]))))
        return
    figures: dict[str, dict[str, float]] = {}
    with served() as url:
        for name, (_, _, module) in CONTENDERS.items():
            if importlib.util.find_spec(module) is None:
                continue
            command = [sys.executable, "-m", "benchmarks.p1", name, url]
            output = subprocess.run(
                command, check=True, capture_output=True, text=True, env=_environment()
            ).stdout
            figures[name] = json.loads(output.strip().splitlines()[-1])
    base = figures.get("postgres", {}).get("cpu")
    rows = [
        [
            CONTENDERS[name][0],
            f"{took['cpu']:.1f}",
            f"{took['wall']:.1f}",
            f"{took['cpu'] / base:.2f}" if base else "",
        ]
        for name, took in figures.items()
    ]
    print(show(["turn: one tool call + answer", "CPU ms", "wall ms", "÷ LangGraph+PG"], rows))
    print("goal: CPU <= 12 ms and <= 0.45 of LangGraph + PostgreSQL")
    print(
        f"{len(registry())} tools, median of {ROUNDS} rounds of {TURNS} turns after {WARM} to warm up"
    )


if __name__ == "__main__":
    main()
