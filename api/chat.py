"""Talking to Jarvis: numbered events as they happen, or the whole answer as JSON."""

import base64
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from starlette.responses import JSONResponse, Response

from api.bodies import json_body, takes
from api.doors import Doors, Open
from api.feed import Feed
from api.identity import Who
from api.metrics import TURNS
from api.sse import EventStream, frame
from graphs.events import (
    ApprovalEvent,
    ChatEvent,
    DoneEvent,
    ErrorEvent,
    MessageEvent,
    SessionEvent,
)
from graphs.jarvis.attachments import Attachment
from nebula.auth.principal import Caller
from nebula.errors import NotFound, PermissionDenied, by_code
from nebula.tool.result import Block

router = APIRouter(prefix="/jarvis", tags=["jarvis"])


def _decoded(text: object) -> bytes:
    """Read Base64 strictly: what is not Base64 is refused, not skipped."""
    if not isinstance(text, str):
        raise ValueError("give the file's bytes as Base64 text")
    return base64.b64decode(text, validate=True)


class File(BaseModel):
    """A text file to read along with the message."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200)
    media_type: str = Field("text/plain", max_length=100)
    content: Annotated[
        bytes,
        BeforeValidator(_decoded),
        WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
    ] = Field(description="The file's bytes in Base64")


class ChatRequest(BaseModel):
    """What you say, and where."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"message": "check GPU status"}]}
    )

    message: str = Field(min_length=1, max_length=100_000)
    session_id: str | None = Field(
        None, pattern=r"^[\w-]{1,64}$", description="Left out, a new one begins"
    )
    attachments: list[File] = Field(default_factory=list, max_length=10)


class ChatReply(BaseModel):
    """A whole turn, for clients that asked for plain JSON."""

    session_id: str
    turn_id: str
    outcome: Literal["answered", "waiting", "cancelled", "failed"]
    text: str
    blocks: list[Block] = Field(default_factory=list)
    approvals: list[ApprovalEvent] = Field(
        default_factory=list, description="Decide these, then POST …/resume"
    )
    events: list[dict[str, Any]] = Field(
        default_factory=list, description="Everything but the tokens, numbered"
    )


class Cancelled(BaseModel):
    """Whether there was something to cancel."""

    cancelled: bool


_SSE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The turn: as events (session plan step tool token approval job message "
        "error done, each numbered), or as one JSON document when that is what you accept",
        "model": ChatReply,
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@router.post("/chat", openapi_extra=takes(ChatRequest), responses=_SSE, response_model=None)
async def chat(
    request: Request,
    who: Who,
    open_: Open,
    body: Annotated[ChatRequest, Depends(json_body(ChatRequest))],
) -> Response | ChatReply:
    """Say something to Jarvis."""
    _may_chat(who)
    files = [
        Attachment(name=f.name, media_type=f.media_type, content=f.content)
        for f in body.attachments
    ]
    turn = open_.jarvis.send(who, body.message, session_id=body.session_id, attachments=files)
    return await _answer(request, who, open_, turn)


@router.post("/chat/{session_id}/resume", responses=_SSE, response_model=None)
async def resume(session_id: str, request: Request, who: Who, open_: Open) -> Response | ChatReply:
    """Go on after approvals were decided, or follow a turn that goes on already."""
    _may_chat(who)
    return await _answer(request, who, open_, open_.jarvis.resume(who, session_id))


@router.get("/chat/{session_id}", responses=_SSE, response_model=None)
async def follow(
    session_id: str,
    request: Request,
    who: Who,
    open_: Open,
    turn_id: Annotated[str, Query(max_length=64, description="The turn that was cut off")] = "",
) -> Response | ChatReply:
    """Read the session's present or last turn; Last-Event-ID leaves out what you have."""
    _may_chat(who)
    last = request.headers.get("last-event-id", "")
    after = int(last) if last.isascii() and last.isdigit() and len(last) < 10 else 0
    turn = _after(open_.jarvis.follow(who, session_id), after, turn_id)
    return await _answer(request, who, open_, turn)


@router.post("/chat/{session_id}/cancel")
async def cancel(session_id: str, who: Who, open_: Open) -> Cancelled:
    """Stop the turn that is running in a conversation."""
    _may_chat(who)
    return Cancelled(cancelled=await open_.jarvis.cancel(who, session_id))


async def _after(
    turn: AsyncIterator[ChatEvent], after: int, turn_id: str
) -> AsyncIterator[ChatEvent]:
    """Leave out what the reader has, unless another turn has begun since."""
    async for event in turn:
        if isinstance(event, SessionEvent) and turn_id and event.turn_id != turn_id:
            after = 0
        if event.seq > after:
            yield event


def _may_chat(who: Caller) -> None:
    if not who.principal.can("jarvis:read"):
        raise PermissionDenied("Talking to Jarvis needs the permission jarvis:read")


async def _answer(
    request: Request, who: Caller, open_: Doors, turn: AsyncIterator[ChatEvent]
) -> Response | ChatReply:
    feed = Feed(_counted(turn))
    try:
        # Awaited here, so that what fails before the first event gets a proper status.
        if not await feed.ready():
            raise NotFound("Nothing was said in this conversation yet, or you have it all")
        if _wants_json(request):
            return await _whole(feed)
    except BaseException:
        await feed.close()
        raise
    guard = partial(open_.app.parts.auth.unchanged, who.principal)
    return EventStream("chat", feed, _frame, guard)


def _frame(event: ChatEvent) -> bytes:
    return frame(event.type, event.model_dump_json(), number=str(event.seq))


async def _counted(turn: AsyncIterator[ChatEvent]) -> AsyncIterator[ChatEvent]:
    outcome = "broken_off"
    try:
        async for event in turn:
            if isinstance(event, DoneEvent):
                outcome = event.outcome
            yield event
    finally:
        TURNS.labels(outcome).inc()
        if isinstance(turn, AsyncGenerator):
            await turn.aclose()


async def _whole(events: AsyncIterable[ChatEvent]) -> ChatReply | Response:
    reply = ChatReply(session_id="", turn_id="", outcome="failed", text="")
    texts: list[str] = []
    async for event in events:
        if event.type != "token":
            reply.events.append(event.model_dump(mode="json"))
        match event:
            case SessionEvent():
                reply.session_id, reply.turn_id = event.session_id, event.turn_id
            case MessageEvent():
                texts.append(event.text)
                reply.blocks += event.blocks
            case ApprovalEvent():
                reply.approvals.append(event)
            case ErrorEvent():
                return JSONResponse(event.error, by_code(str(event.error.get("code"))).status)
            case DoneEvent():
                reply.outcome = event.outcome
            case _:
                pass
    reply.text = "\n\n".join(text for text in texts if text)
    return reply


def _wants_json(request: Request) -> bool:
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/event-stream" not in accept
