"""Buttons of elements: each is a tool call of the person at the page, by the one executor.

A call that needs an approval shows its card, and is made when the card was answered: the
approval's row has everything of it, so that a reload in between changes nothing.
"""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from graphs.events import ApprovalEvent, ChatEvent, MessageEvent
from nebula.errors import ApprovalRequired, InvalidInput, NebulaError
from nebula.tool.approval import Approval
from ui.chat import door
from ui.chat.screen import LiveScreen
from ui.chat.session import begun
from ui.chat.turn import Turn, error_text

_PREFIX = "card-"
_LONGEST_KEY = 64


async def call(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Make a call and return its `result`, its `error`, or the id of the approval it `waiting`s for.

    `key` makes a call that is sent twice one call.
    """
    from chainlit.context import context

    key, arguments = str(payload.get("key") or ""), payload.get("arguments")
    try:
        if not 8 <= len(key) <= _LONGEST_KEY or not isinstance(arguments, Mapping):
            raise InvalidInput("A call has a key and arguments")
        result = await door.app().executor.execute(
            str(payload.get("tool")),
            arguments,
            caller=await door.caller(begun(context.session)),
            call_id=f"{_PREFIX}{key}",
        )
    except ApprovalRequired as waiting:
        await ask(waiting.approval_id)
        return {"waiting": waiting.approval_id}
    except NebulaError as error:
        return {"error": error.payload()}
    return {"result": result.model_dump(mode="json")}


def of_a_card(approval: Approval) -> bool:
    """Say whether a button of an element asked, and no turn."""
    return approval.call_id.startswith(_PREFIX)


async def go_on(approval: Approval) -> None:
    """Make the call that waited, on a page of whom it is for, and say what became of it."""
    me = await door.me()
    if approval.state != "approved" or approval.principal_id != me.id:
        return
    caller = await door.caller(approval.session_id)
    executor = door.app().executor
    try:
        result = await executor.execute(
            approval.tool, approval.arguments, caller=caller, call_id=approval.call_id
        )
    except NebulaError as error:
        said = MessageEvent(message_id=f"called-{approval.id}", text=error_text(error.payload()))
    else:
        said = MessageEvent(
            message_id=f"called-{approval.id}", text="", blocks=list(result.render())
        )
    await _draw(said)


async def ask(approval_id: str) -> None:
    """Show the card of an approval below what is on the page; again, it takes the same place."""
    try:
        approval = await door.app().parts.approvals.get(approval_id, await door.me())
    except NebulaError:
        return  # there is none that this person may see
    await _draw(ApprovalEvent.of(approval))


async def _draw(event: ChatEvent) -> None:
    turn = Turn(LiveScreen(), run_id=str(uuid4()))
    await turn.begin()
    await turn.show(event)
    await turn.end()
