"""A stored session drawn again: its transcript, run through the code that draws live turns."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from graphs.events import ApprovalEvent, DoneEvent, MessageEvent, PlanEvent, PlanStep, ToolEvent
from memory.sessions import Message
from nebula.auth.principal import Principal
from nebula.tool.approvals import Approval
from ui.chat import calls, door
from ui.chat.jobs import results_of
from ui.chat.screen import Recording, Step, with_thread
from ui.chat.turn import Turn

Drawn = tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]


async def drawn(session_id: str, principal: Principal) -> Drawn:
    """Return a session's steps and elements, approval cards in their place included."""
    messages = await door.jarvis().sessions.messages(session_id, principal)
    approvals = await door.app().parts.approvals.list(
        principal, state=None, session_id=session_id, limit=200
    )
    recording = Recording()
    # The executor knows a call by its session and id together, the transcript by its id.
    by_call = {a.call_id.removeprefix(f"{session_id}:"): a for a in approvals}
    asked = sorted(filter(calls.of_a_card, approvals), key=lambda one: one.created_at, reverse=True)
    for message in messages:
        while asked and asked[-1].created_at < message.created_at:
            await _asked(asked.pop(), recording)
        if message.role == "user":
            await recording.step(_said(message))
        else:
            await _replay(message, by_call, recording, principal)
    for approval in reversed(asked):
        await _asked(approval, recording)
    return with_thread(recording.steps, session_id), with_thread(recording.elements, session_id)


async def _asked(approval: Approval, recording: Recording) -> None:
    """Draw a question that a button of an element led to: it belongs to no turn."""
    turn = Turn(recording, run_id=f"run-{approval.id}", at=_moment(approval.created_at))
    await turn.begin()
    await turn.show(ApprovalEvent.of(approval))
    await turn.end()


def _said(message: Message) -> Step:
    at = _moment(message.created_at)
    return {
        "id": message.id,
        "name": "You",
        "type": "user_message",
        "parentId": None,
        "createdAt": at,
        "start": at,
        "end": at,
        "input": "",
        "output": message.text,
        "streaming": False,
        "isError": False,
        "metadata": {},
    }


async def _replay(
    message: Message, approvals: dict[str, Approval], recording: Recording, principal: Principal
) -> None:
    turn = Turn(recording, run_id=f"run-{message.id}", at=_moment(message.created_at))
    await turn.begin()
    if message.plan:
        steps = [PlanStep(title=line.title, status=line.status) for line in message.plan]
        await turn.show(PlanEvent(steps=steps))
    for call in message.tool_calls:
        record = call.model_dump(include={"call_id", "name", "arguments", "status", "error"})
        await turn.show(ToolEvent(**record, blocks=call.blocks))
        await results_of(call.blocks, principal, recording, f"run-{message.id}")
        if approval := approvals.get(call.call_id):
            await turn.show(ApprovalEvent.of(approval))
    if message.text or message.blocks:
        await turn.show(
            MessageEvent(message_id=message.id, text=message.text, blocks=message.blocks)
        )
    outcome: Literal["cancelled", "answered"]
    outcome = "cancelled" if message.status == "cancelled" else "answered"
    await turn.show(DoneEvent(outcome=outcome))


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
