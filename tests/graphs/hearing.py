"""Waiting for turns, and checking what they left in a thread."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from graphs.events import ChatEvent


async def until_done(events: AsyncIterator[ChatEvent]) -> list[ChatEvent]:
    """Listen until the turn says that it is over."""
    heard = []
    async for event in events:
        heard.append(event)
        if event.type == "done":
            return heard
    return heard


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that another task does."""
    async with asyncio.timeout(15):
        while not holds():
            await asyncio.sleep(0.01)


def assert_whole(history: Sequence[BaseMessage]) -> None:
    """Every tool call has its answer, as model servers demand."""
    asked = [one["id"] for m in history if isinstance(m, AIMessage) for one in m.tool_calls]
    answered = [m.tool_call_id for m in history if isinstance(m, ToolMessage)]
    assert asked == answered
