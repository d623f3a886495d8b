"""Approvals over REST: see what waits, and decide it as a signed-in person."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from api.bodies import json_body, takes
from api.doors import Open
from api.identity import Person, Who
from nebula.auth.principal import Surface
from nebula.tool.approvals import Approval

router = APIRouter(prefix="/approvals", tags=["approvals"])

State = Literal["pending", "approved", "denied", "changes_requested", "used", "expired", "all"]


class Decision(BaseModel):
    """A person's answer."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"decision": "deny"}]}
    )

    decision: Literal["approve", "deny", "request_changes"]
    comment: str = Field("", max_length=2000, description="Why; needed with request_changes")


@router.get("")
async def list_approvals(
    who: Who,
    open_: Open,
    state: Annotated[State, Query(description="Only those in this state")] = "pending",
    session_id: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> list[Approval]:
    """List the approvals you asked for or may decide, latest first."""
    return await open_.app.parts.approvals.list(
        who.principal,
        state=None if state == "all" else state,
        session_id=session_id,
        limit=limit,
    )


@router.get("/{approval_id}")
async def get_approval(approval_id: str, who: Who, open_: Open) -> Approval:
    """Show one approval with every argument."""
    return await open_.app.parts.approvals.get(approval_id, who.principal)


@router.post("/{approval_id}/decide", openapi_extra=takes(Decision))
async def decide(
    approval_id: str,
    who: Person,
    open_: Open,
    body: Annotated[Decision, Depends(json_body(Decision))],
) -> Approval:
    """Approve, deny or ask for changes; afterwards the call is made again with its call id.

    An API key cannot decide: a program that asks must not answer itself.
    """
    return await open_.app.parts.approvals.decide(
        approval_id,
        decision=body.decision,
        by=who.principal,
        surface=Surface.REST,
        comment=body.comment,
    )
