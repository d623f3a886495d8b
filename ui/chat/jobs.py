"""Jobs in the chat: what a card reads, and the result that appears when a job has ended."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from api.identity import session_token
from api.jobs import JobSnapshot, snapshot
from nebula.auth.principal import Principal
from nebula.errors import NebulaError, NotAuthenticated, NotFound
from nebula.tool.result import Block, JobProgress
from ui.chat import door, elements
from ui.chat.screen import LiveScreen, Screen, Step

AUTHOR = "Jarvis"
router = APIRouter(include_in_schema=False)


@router.get("/ui/jobs/{job_id}")
async def state(job_id: str, request: Request) -> JSONResponse:
    """Return a job as its card shows it to the person signed in."""
    try:
        token = session_token(request)
        principal = await door.who_is(token) if token else None
        if principal is None:
            raise NotAuthenticated("Sign in first")
        shown = await snapshot(door.app().parts, principal, job_id)
    except NebulaError as error:
        return JSONResponse(error.payload(), status_code=error.status)
    return JSONResponse(shown.model_dump(mode="json"), headers={"Cache-Control": "no-store"})


def cards_of(blocks: Sequence[Block]) -> list[JobProgress]:
    """Return the jobs among a result's blocks."""
    return [block for block in blocks if isinstance(block, JobProgress)]


async def show_result(payload: Mapping[str, Any]) -> None:
    """Draw what a job made, once its card saw it end; drawn again, it takes the same place."""
    try:
        shown = await snapshot(door.app().parts, await door.me(), str(payload.get("id")))
    except NebulaError:
        return  # the card says what is wrong
    await draw_result(shown, LiveScreen(), parent=None)


async def results_of(
    blocks: Sequence[Block], principal: Principal, screen: Screen, parent: str
) -> None:
    """Draw into a session's history what the jobs of a call have made by now."""
    for card in cards_of(blocks):
        try:
            shown = await snapshot(door.app().parts, principal, card.job_id)
        except NotFound:
            continue
        await draw_result(shown, screen, parent=parent)


async def draw_result(shown: JobSnapshot, screen: Screen, *, parent: str | None) -> None:
    """Draw a finished job's blocks as a message of their own; nothing while it goes on."""
    job = shown.job
    if not job.state.ended or not shown.blocks:
        return
    message_id = f"result-{job.id}"
    moment = (job.finished_at or job.created_at).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    message: Step = {
        "id": message_id,
        "name": AUTHOR,
        "type": "assistant_message",
        "parentId": parent,
        "createdAt": moment,
        "start": moment,
        "end": moment,
        "input": "",
        "output": elements.text_of(shown.blocks) or f"`{job.tool}` is done:",
        "streaming": False,
        "isError": False,
        "metadata": {},
    }
    await screen.step(message)
    for element in elements.elements_of(shown.blocks, message_id):
        await screen.element(element)
