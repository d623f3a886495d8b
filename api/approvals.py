"""Approvals over REST: see what waits, and decide it as a signed-in person."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.bodies import json_body, takes
from api.doors import Open
from api.feed import Feed
from api.identity import Person, Who
from api.sse import EventStream
from nebula.auth.principal import Principal, Surface
from nebula.events.bus import Batch
from nebula.policy.answering import Bar
from nebula.tool.approval import STREAM, Approval, concerns
from nebula.tool.approvals import Approvals
from nebula.tool.barred import barred

router = APIRouter(prefix="/approvals", tags=["approvals"])

State = Literal[
    "pending",
    "approved",
    "denied",
    "changes_requested",
    "used",
    "expired",
    "withdrawn",
    "all",
]


class Decision(BaseModel):
    """A person's answer."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"decision": "deny"}]}
    )

    decision: Literal["approve", "deny", "request_changes"]
    comment: str = Field("", max_length=2000, description="Why; needed with request_changes")


class Card(Approval):
    """An approval as one person sees it."""

    barred: Bar | None = Field(None, description="What keeps you from approving it")
    barred_because: str = ""


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


@router.get(
    "/events",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def follow_approvals(who: Who, open_: Open) -> Response:
    """Follow the questions you asked or may decide, from now on: asked, answered, expired."""
    parts = open_.app.parts
    # What somebody may see changes while the stream is open.
    present = [who.principal]

    async def still_there() -> None:
        present[0] = await parts.auth.current(who.principal)

    def encode(batch: Batch) -> bytes:
        return b"".join(e.frame for e in batch.events if concerns(e, present[0]))

    feed = Feed(parts.events.batches(STREAM, await parts.events.last(STREAM)), ahead=4)
    return EventStream("approvals", feed, encode, still_there)


@router.get("/{approval_id}")
async def get_approval(approval_id: str, who: Who, open_: Open) -> Card:
    """Show one approval with every argument, and what keeps you from approving it, if anything."""
    approvals = open_.app.parts.approvals
    found = await approvals.get(approval_id, who.principal)
    return await card_of(approvals, found, who.principal)


async def card_of(approvals: Approvals, found: Approval, principal: Principal) -> Card:
    """Return an approval as somebody at this door sees it."""
    bar = None
    if found.state == "pending":
        bar = await approvals.barred(found, principal, Surface.REST)
    because = "" if bar is None else str(barred(bar, found))
    fields = {name: getattr(found, name) for name in Approval.model_fields}
    return Card(**fields, barred=bar, barred_because=because)


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
