"""A job as it goes on: numbered events over SSE that end when the job has."""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from api.doors import Open
from api.feed import Feed
from api.identity import Who
from api.problems import BadRequest
from api.sse import EventStream, frame
from nebula.app import Parts
from nebula.auth.principal import Principal
from nebula.events.bus import Batch, Event
from nebula.jobs.job import Job, JobState, LogLine
from nebula.jobs.record import stream_of
from nebula.tool.result import Block

router = APIRouter(prefix="/jobs", tags=["jobs"])

_LOG_TAIL = 200


class JobSnapshot(BaseModel):
    """A job as it is, with the end of its log and its result as its tool shows it."""

    number: int
    """The last event that is in it."""
    job: Job
    log: list[LogLine]
    blocks: list[Block]


@router.get(
    "/{job_id}/events",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def follow_job(
    job_id: str,
    request: Request,
    who: Who,
    open_: Open,
    after: Annotated[
        str,
        Query(
            description="Begin behind this number, 0 for all; the header Last-Event-ID wins. "
            "Left out, the first event is the job as it is."
        ),
    ] = "",
) -> Response:
    """Follow a job: `job.state`, `job.progress`, `job.log`; at its end `job` once more, whole."""
    parts, principal = open_.app.parts, who.principal
    job = await parts.jobs.get(job_id, principal)  # NotFound when it is somebody else's
    place = _place(request.headers.get("last-event-id") or after)
    feed = Feed(_frames(parts, principal, job, place))
    return EventStream("job", feed, bytes, partial(parts.auth.unchanged, principal))


async def _frames(
    parts: Parts, principal: Principal, job: Job, after: int | None
) -> AsyncIterator[bytes]:
    stream = stream_of(job.id)
    if after is None:
        whole = await snapshot(parts, principal, job.id)
        after = whole.number
        yield frame("job", whole.model_dump_json(), number=str(after))
        if whole.job.state.ended:
            return
    elif job.state.ended:
        # Its events may be pruned, so nothing is waited for.
        while past := await parts.events.read(stream, after):
            yield _written(past)
            after = past[-1].seq
        yield await _whole(parts, principal, job, after)
        return
    async for batch in parts.events.batches(stream, after):
        yield _written(batch.events)
        if _tells_of_an_end(batch):
            job = await parts.jobs.get(job.id, principal)
            if job.state.ended:  # a lost run is told of too, though the job goes on
                yield await _whole(parts, principal, job, batch.last)
                return


async def snapshot(parts: Parts, principal: Principal, job_id: str) -> JobSnapshot:
    """Return a job that the principal may see; NotFound otherwise."""
    await parts.jobs.get(job_id, principal)
    # The number first: what happens in between is told twice rather than not at all.
    number = await parts.events.last(stream_of(job_id))
    return await _snapshot(parts, principal, await parts.jobs.get(job_id, principal), number)


async def _snapshot(parts: Parts, principal: Principal, job: Job, number: int) -> JobSnapshot:
    log = await parts.jobs.log(job.id, principal, last=_LOG_TAIL)
    return JobSnapshot(number=number, job=job, log=log, blocks=_blocks(parts, job))


async def _whole(parts: Parts, principal: Principal, job: Job, number: int) -> bytes:
    shown = await _snapshot(parts, principal, job, number)
    return frame("job", shown.model_dump_json(), number=str(number))


def _blocks(parts: Parts, job: Job) -> list[Block]:
    if job.result is None or job.tool not in parts.registry:
        return []
    try:
        result = parts.registry.get(job.tool).output_model.model_validate(job.result)
    except ValidationError:
        return []  # an older version wrote it
    return list(result.render())


def _written(events: Sequence[Event]) -> bytes:
    return b"".join(frame(e.kind, e.json, number=str(e.seq)) for e in events)


def _tells_of_an_end(batch: Batch) -> bool:
    states = [e.data.get("state") for e in batch.events if e.kind == "job.state"]
    return any(state is not None and JobState(state).ended for state in states)


def _place(number: str) -> int | None:
    if not number:
        return None
    if not number.isascii() or not number.isdigit() or len(number) > 18:
        raise BadRequest("Last-Event-ID is not one of ours")
    return int(number)
