"""Summaries of conversations: by the model when there is one, else by what was said."""

from collections.abc import Sequence
from pathlib import Path

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import (
    AnyMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
)
from langgraph.graph.message import REMOVE_ALL_MESSAGES

from memory.sessions import Message
from nebula.errors import NebulaError

LONG_THREAD = 60
"""Messages from which on a thread is shortened."""
_KEPT = 16
_LONGEST_LINE = 300
_LONGEST_TEXT = 16_000
_PROMPT = Path(__file__).parent / "prompts" / "summary.md"


async def summary_of(transcript: Sequence[Message], model: BaseChatModel | None) -> str:
    """Return a few sentences about a conversation."""
    lines = [
        f"{'Person' if message.role == 'user' else 'Jarvis'}: {_line(message.text)}"
        for message in transcript
        if message.text.strip()
    ]
    calls = [call.name for message in transcript for call in message.tool_calls]
    return await _summarised(lines, calls, model)


async def shortened(
    thread: Sequence[AnyMessage], model: BaseChatModel | None
) -> list[RemoveMessage | AnyMessage] | None:
    """Return what replaces a long thread: a summary, then its latest requests; None when it cannot be cut."""
    cut = next(
        (at for at in range(len(thread) - _KEPT, len(thread)) if thread[at].type == "human"), None
    )
    if cut is None:
        return None
    speakers = {"human": "Person", "ai": "Jarvis"}
    lines = [
        f"{speakers[message.type]}: {_line(message.text)}"
        for message in thread[:cut]
        if message.type in speakers and message.text.strip()
    ]
    calls = [str(message.name) for message in thread[:cut] if message.type == "tool"]
    summary = await _summarised(lines, calls, model)
    return [
        RemoveMessage(id=REMOVE_ALL_MESSAGES),
        HumanMessage(f"(What was said before, summarised: {summary})"),
        *thread[cut:],
    ]


async def _summarised(
    lines: Sequence[str], calls: Sequence[str], model: BaseChatModel | None
) -> str:
    if model is not None:
        text = "\n".join(lines)[-_LONGEST_TEXT:]
        try:
            answer = await model.ainvoke(
                [SystemMessage(_PROMPT.read_text(encoding="utf-8")), HumanMessage(text)]
            )
        except NebulaError:
            answer = None
        if answer is not None and (said := answer.text.strip()):
            return said[:2_000]
    return _extracted(lines, calls)


def _extracted(lines: Sequence[str], calls: Sequence[str]) -> str:
    asked = [line.removeprefix("Person: ") for line in lines if line.startswith("Person: ")]
    shown = asked if len(asked) <= 6 else [*asked[:2], "…", *asked[-3:]]
    parts = [f"Asked: {'; '.join(shown)}." if shown else ""]
    if calls:
        parts.append(f"Used: {', '.join(dict.fromkeys(calls))}.")
    return " ".join(part for part in parts if part) or "Nothing was said."


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…"
