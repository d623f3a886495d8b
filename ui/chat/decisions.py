"""The approval card's buttons: the answer goes to the approval's row, then what asked goes on."""

from collections.abc import Mapping
from typing import Any, get_args

from nebula.auth.principal import Surface
from nebula.errors import InvalidInput, NebulaError
from nebula.tool.approval import Approval
from nebula.tool.approvals import Answer
from ui.chat import calls, door, talk


async def decide(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Record an answer and go on; a second click finds the decision made and changes nothing."""
    try:
        approval = await door.app().parts.approvals.decide(
            str(payload.get("id")),
            decision=_answer(payload.get("decision")),
            by=await door.me(),
            surface=Surface.CHAT,
            comment=str(payload.get("comment") or ""),
        )
    except NebulaError as error:
        return {"error": error.payload()}
    await _go_on(approval)
    return {"approval": approval.model_dump(mode="json")}


async def decided_elsewhere(payload: Mapping[str, Any]) -> None:
    """Go on after an approval was decided through another door."""
    try:
        approval = await door.app().parts.approvals.get(str(payload.get("id")), await door.me())
    except NebulaError:
        return  # the card says what is wrong
    await _go_on(approval)


async def _go_on(approval: Approval) -> None:
    if calls.of_a_card(approval):
        await calls.go_on(approval)
    else:
        talk.resume()


def _answer(value: object) -> Answer:
    for answer in get_args(Answer):
        if value == answer:
            return answer  # type: ignore[no-any-return]
    raise InvalidInput("The answer is approve, deny or request_changes")
