"""Makes a thread whole again after a turn that was cut off, so that the next one can go on."""

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from memory.turns import Unfinished

_UNDECIDED = (
    "Not run: nobody decided about it before the person went on. Ask anew if it is still wanted."
)
_CUT_OFF = (
    "Cut off before its result was seen; it may or may not have run. Look before trying again."
)
_UNANSWERED = "(I was stopped before I could answer this.)"


def message_id(turn_id: str) -> str:
    """Return the id of the message that began a turn."""
    return f"said-{turn_id}"


def repairs(thread: Sequence[AnyMessage], earlier: Sequence[Unfinished]) -> list[Any]:
    """Return the messages that close what earlier turns left open, in order."""
    waited = {"waiting", "withdrawn"}
    undecided = any(turn.state in waited for turn in earlier)
    made: list[Any] = list(_closed_calls(thread, _UNDECIDED if undecided else _CUT_OFF))
    unanswered = bool(made) or (bool(thread) and thread[-1].type != "ai")
    if unanswered:
        made.append(AIMessage(_UNANSWERED))
    known = {message.id for message in thread}
    for turn in earlier:
        if message_id(turn.id) not in known and turn.said:
            made += [HumanMessage(turn.said, id=message_id(turn.id)), AIMessage(_UNANSWERED)]
    return made


def _closed_calls(thread: Sequence[AnyMessage], why: str) -> list[ToolMessage]:
    at = next((i for i in range(len(thread) - 1, -1, -1) if isinstance(thread[i], AIMessage)), None)
    if at is None:
        return []
    last = thread[at]
    assert isinstance(last, AIMessage)
    answered = {m.tool_call_id for m in thread[at + 1 :] if isinstance(m, ToolMessage)}
    return [
        ToolMessage(why, name=call["name"], tool_call_id=str(call["id"]), status="error")
        for call in last.tool_calls
        if call["id"] not in answered
    ]
