"""LangChain's spans: no thread while nobody traces, LangSmith's own way when somebody does."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langsmith import Client, set_runtime_overrides, traceable, tracing_context

from graphs.tracing import trace_cheaply

ENDED_IN: list[str] = []


class Counted(ThreadPoolExecutor):
    """Threads that know how often they were asked."""

    asked = 0

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        return super().submit(*args, **kwargs)


def told(outputs: str) -> dict[str, str]:
    ENDED_IN.append(threading.current_thread().name)
    return {"output": outputs}


@traceable(process_outputs=told)
async def hook(word: str) -> str:
    return word


@pytest.fixture
async def threads() -> Any:
    with Counted(1, "span") as pool:
        asyncio.get_running_loop().set_default_executor(pool)
        yield pool


@pytest.fixture(autouse=True)
def _cheaply() -> Iterator[None]:
    ENDED_IN.clear()
    trace_cheaply()
    yield
    set_runtime_overrides()


async def test_no_thread_is_asked_while_nobody_traces(threads: Counted) -> None:
    assert await hook("hello") == "hello"
    assert (threads.asked, ENDED_IN) == (0, ["MainThread"])


async def test_who_traces_has_spans_made_in_threads(threads: Counted) -> None:
    nowhere = Client("http://127.0.0.1:9", api_key="none", auto_batch_tracing=False)
    with tracing_context(enabled="local", client=nowhere):
        assert await hook("hello") == "hello"
    assert threads.asked == 2
    assert ENDED_IN == ["span_0"]
