"""Conversations with Jarvis over REST: list, read, close, reopen, rename, delete."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from api.bodies import json_body, takes
from api.doors import Open
from api.identity import Who
from memory.sessions import Message, Session
from nebula.auth.grant import READ_ONLY
from nebula.errors import PermissionDenied

router = APIRouter(prefix="/sessions", tags=["sessions"])


class Rename(BaseModel):
    """A conversation's new title."""

    model_config = ConfigDict(extra="forbid")

    title: str = Field(min_length=1, max_length=200)


class Begin(BaseModel):
    """A conversation to begin."""

    model_config = ConfigDict(extra="forbid")

    title: str = Field("", max_length=200)
    read_only: bool = Field(False, description="Jarvis only looks in it and changes nothing")


class Rights(BaseModel):
    """What a conversation may be used for."""

    model_config = ConfigDict(extra="forbid")

    read_only: bool


class Deleted(BaseModel):
    """It is gone."""

    deleted: bool = True


@router.get("")
async def list_sessions(
    who: Who,
    open_: Open,
    state: Annotated[Literal["open", "closed"] | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[datetime | None, Query(description="Continue a list from here")] = None,
) -> list[Session]:
    """List your conversations, latest first."""
    found = await open_.jarvis.sessions.list(who.principal, state=state, limit=limit, before=before)
    return list(found)


@router.post("", openapi_extra=takes(Begin))
async def begin_session(
    who: Who, open_: Open, body: Annotated[Begin, Depends(json_body(Begin))]
) -> Session:
    """Begin an empty conversation, which may be for looking only."""
    session = await open_.jarvis.sessions.create(who.principal, who.surface, body.title)
    if body.read_only:
        await open_.app.parts.auth.sessions.put(session.id, READ_ONLY)
    return session


@router.get("/{session_id}/rights")
async def get_rights(session_id: str, who: Who, open_: Open) -> Rights:
    """Say whether Jarvis only looks in this conversation."""
    await open_.jarvis.sessions.get(session_id, who.principal)
    return Rights(read_only=await open_.app.parts.auth.sessions.is_read_only(session_id))


@router.put("/{session_id}/rights", openapi_extra=takes(Rights))
async def set_rights(
    session_id: str,
    who: Who,
    open_: Open,
    body: Annotated[Rights, Depends(json_body(Rights))],
) -> Rights:
    """Let Jarvis only look in this conversation, or, as a person, let him change things again."""
    await open_.jarvis.sessions.get(session_id, who.principal)
    if not body.read_only and who.principal.login_id is None:
        raise PermissionDenied("Only a person who signed in lets a conversation do more again")
    await open_.app.parts.auth.sessions.put(session_id, READ_ONLY if body.read_only else None)
    return body


@router.get("/{session_id}")
async def get_session(session_id: str, who: Who, open_: Open) -> Session:
    """Show one of your conversations."""
    return await open_.jarvis.sessions.get(session_id, who.principal)


@router.get("/{session_id}/messages")
async def get_messages(
    session_id: str,
    who: Who,
    open_: Open,
    after: Annotated[int, Query(ge=0, le=2**31 - 1, description="A message's position")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 500,
) -> list[Message]:
    """Read a conversation in order."""
    found = await open_.jarvis.sessions.messages(
        session_id, who.principal, after=after, limit=limit
    )
    return list(found)


@router.post("/{session_id}/close")
async def close_session(session_id: str, who: Who, open_: Open) -> Session:
    """Close a conversation; it gets a summary and can be reopened."""
    return await open_.jarvis.sessions.close(session_id, who.principal)


@router.post("/{session_id}/reopen")
async def reopen_session(session_id: str, who: Who, open_: Open) -> Session:
    """Open a closed conversation again."""
    return await open_.jarvis.sessions.reopen(session_id, who.principal)


@router.patch("/{session_id}", openapi_extra=takes(Rename))
async def rename_session(
    session_id: str,
    who: Who,
    open_: Open,
    body: Annotated[Rename, Depends(json_body(Rename))],
) -> Session:
    """Give a conversation another title."""
    return await open_.jarvis.sessions.rename(session_id, who.principal, body.title)


@router.delete("/{session_id}")
async def delete_session(session_id: str, who: Who, open_: Open) -> Deleted:
    """Delete a conversation with everything in it."""
    await open_.jarvis.sessions.delete(session_id, who.principal)
    return Deleted()
