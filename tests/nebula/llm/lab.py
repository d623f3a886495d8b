"""A router over fakes, with limits short enough for tests."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import langchain_ollama  # noqa: F401 - importing takes longer than these tests' time-outs
import langchain_openai  # noqa: F401
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.messages.ai import add_ai_message_chunks
from pydantic import SecretStr

from nebula.auth.principal import Caller
from nebula.db.engine import Database
from nebula.llm.command.mode import CommandMode
from nebula.llm.command.model import CommandModel
from nebula.llm.embedding import Embedder
from nebula.llm.ollama import OllamaProvider
from nebula.llm.openai import OpenAIProvider
from nebula.llm.provider import COMMAND, Provider
from nebula.llm.router import Router
from nebula.llm.settings import LlmSettings
from nebula.settings import Settings
from nebula.tool.registry import Registry
from nebula.tool.retrieval import ToolIndex
from tests.fakes.ollama import LLAMA_3B, FakeOllama
from tests.fakes.openai import FakeOpenAI
from tests.fakes.scripted import Policy, Reply, Script, call, echo, say
from tests.fakes.serve import serve
from tests.nebula.llm.command import house

LIMITS = LlmSettings(
    connect_seconds=1.0,
    first_token_seconds=2.0,
    stall_seconds=1.0,
    rate_limit_seconds=0.2,
    refresh_seconds=0.0,
)
Fake = FakeOllama | FakeOpenAI
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "Do something.",
            "parameters": {"type": "object", "properties": {"limit": {"type": "integer"}}},
        },
    }
    for name in ("gpu_status", "jobs_list", "gpu_switch", "services_logs")
]
_HOUSE = Registry(house.TOOLS)
_MODELS = ("ollama", "openai")

every_provider = pytest.mark.parametrize("kind", [*_MODELS, COMMAND])


def every_provider_but_command(because: str) -> pytest.MarkDecorator:
    """Leave command mode out of a case; `because` says why the case means nothing for it."""
    assert because
    return pytest.mark.parametrize("kind", _MODELS)


@dataclass(frozen=True)
class Case:
    """What a person says, and what a model says to it; command mode finds its own words."""

    said: str
    reply: Reply


HELP = Case("help", say("I can do\nthis and that\nand all of those"))
CALLING = Case(
    "show the last 20 lines of the logs of ollama",
    call("services_logs", {"service": "ollama", "lines": 20}),
)
UNKNOWN = Case("colourless green ideas sleep furiously", say("I do not know how to do that."))
UNCLEAR = Case("/gpu_switch", say("To which service?"))
NOTHING = Case("", say("You sent nothing."))
MALFORMED = Case("/services_logs ollama lines=banana", say("How many lines?"))


def settings_of(**more: Any) -> Settings:
    return Settings(_env_file=None, home=Path("unused"), **more)


def fake(kind: str, policy: Policy = echo) -> Fake:
    if kind == "ollama":
        return FakeOllama(policy, installed={"llama3.2:3b": LLAMA_3B})
    return FakeOpenAI(policy)


def provider(
    kind: str,
    url: str,
    *,
    key: str = "k",
    num_ctx: int = 8192,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Provider:
    wait = LIMITS.connect_seconds
    if kind == "ollama":
        return OllamaProvider(url, num_ctx=num_ctx, connect_seconds=wait, transport=transport)
    key_ = SecretStr(key)
    return OpenAIProvider(f"{url}/v1", key_, connect_seconds=wait, transport=transport)


def model_of(kind: str) -> str:
    return {"ollama": "ollama:llama3.2:3b", "openai": "openai:gpt-test"}[kind]


def other(kind: str) -> str:
    return {"ollama": "openai", "openai": "ollama"}[kind]


@asynccontextmanager
async def routing(
    database: Database, providers: Sequence[Provider], **more: Any
) -> AsyncIterator[Router]:
    """Run a router over providers; nothing is ever configured unless a test does."""
    options = {"settings": settings_of(), "limits": LIMITS.model_copy(), **more}
    async with Router(providers=providers, db=database, **options).running() as router:
        yield router


class Clock:
    """Time that moves only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def still(
    database: Database, providers: Sequence[Provider], clock: Clock, **more: Any
) -> AsyncIterator[Router]:
    """Make a router whose background work happens only in `refresh()`."""
    options = {"settings": settings_of(), "limits": LIMITS.model_copy(), **more}
    router = Router(providers=providers, db=database, clock=clock, **options)
    await router.refresh()
    try:
        yield router
    finally:
        for one in providers:
            await one.aclose()


@asynccontextmanager
async def over(database: Database, **fakes: Fake) -> AsyncIterator[Router]:
    """Serve fakes on loopback, by provider name in order of preference, and route over them."""
    async with AsyncExitStack() as stack:
        providers = []
        for kind, app in fakes.items():
            providers.append(provider(kind, await stack.enter_async_context(serve(app))))
        yield await stack.enter_async_context(routing(database, providers))


@asynccontextmanager
async def answering(
    kind: str, database: Database, case: Case, *, times: int = 1
) -> AsyncIterator[Router]:
    """Route to one provider that is asked so often, as a case has it."""
    if kind == COMMAND:
        mode = CommandMode(ToolIndex(_HOUSE, Embedder()), slot_values=house.SLOT_VALUES)

        def command(caller: Caller | None) -> CommandModel:
            return CommandModel(mode=mode, registry=_HOUSE, caller=caller)

        async with routing(database, [], command=command) as router:
            yield router
        return
    with Script(*[case.reply] * times) as script:
        async with over(database, **{kind: fake(kind, script)}) as router:
            yield router


async def ask(router: Router, text: str = "hello", tools: Sequence[Any] = TOOLS) -> AIMessage:
    """Ask without streaming."""
    model = router.model("small", caller=None)
    answer = await (model.bind_tools(tools) if tools else model).ainvoke([HumanMessage(text)])
    assert isinstance(answer, AIMessage)
    return answer


async def stream(router: Router, text: str = "hello", tools: Sequence[Any] = TOOLS) -> "Heard":
    """Ask and listen as a surface does."""
    heard = Heard()
    model = router.model("small", caller=None)
    source = (model.bind_tools(tools) if tools else model).astream([HumanMessage(text)])
    async for chunk in source:
        assert isinstance(chunk, AIMessageChunk)
        heard.take(chunk)
    return heard


class Heard:
    """What a surface shows: a restart drops what this message had streamed so far."""

    def __init__(self) -> None:
        self.dropped: list[str] = []
        self.chunks: list[AIMessageChunk] = []

    def take(self, chunk: AIMessageChunk) -> None:
        if chunk.response_metadata.get("restart"):
            self.dropped.append(self.text)
            self.chunks = []
        self.chunks.append(chunk)

    @property
    def text(self) -> str:
        return "".join(chunk.text for chunk in self.chunks)

    @property
    def message(self) -> AIMessageChunk:
        return add_ai_message_chunks(*self.chunks)
