"""Events as they happen, resumable: every frame's id says how far each stream was read."""

from collections.abc import Collection
from functools import partial
from typing import Annotated
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.doors import Open
from api.feed import Feed
from api.identity import Who
from api.problems import BadRequest
from api.sse import EventStream, frame
from nebula.errors import InvalidInput
from nebula.events.bus import Batch

router = APIRouter(tags=["events"])

_MOST_STREAMS = 20


@router.get(
    "/events",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def follow_events(
    request: Request,
    who: Who,
    open_: Open,
    streams: Annotated[list[str], Query(alias="stream", description="approvals, …", min_length=1)],
    after: Annotated[
        str, Query(description="Start behind a frame's id; the header Last-Event-ID wins")
    ] = "",
) -> Response:
    """Follow one or more streams: what you may see of the past, then what happens."""
    places = _places(streams, request.headers.get("last-event-id") or after)
    parts, principal = open_.app.parts, who.principal

    def encode(batch: Batch) -> bytes | None:
        if len(places) == 1:
            return frames_for(batch, mine, all_of_them)
        frames = []
        for event in batch.events:
            places[event.stream] = event.seq
            if all_of_them or event.owner in mine:
                frames.append(frame(event.kind, event.json, number=urlencode(places)))
        return b"".join(frames)

    mine, all_of_them = {None, principal.id}, principal.can("events:admin")
    feed = Feed(*(parts.events.batches(name, at) for name, at in list(places.items())), ahead=4)
    return EventStream("events", feed, encode, partial(parts.auth.unchanged, principal))


def frames_for(batch: Batch, mine: Collection[str | None], all_of_them: bool) -> bytes:
    """Return the frames a reader may see; readers who may see all of them share the bytes."""
    if all_of_them or batch.owners.issubset(mine):
        return batch.frames
    return b"".join(event.frame for event in batch.events if event.owner in mine)


def _places(streams: list[str], last_id: str) -> dict[str, int]:
    """Return where to begin in each stream."""
    if len(set(streams)) > _MOST_STREAMS:
        raise InvalidInput(f"At most {_MOST_STREAMS} streams fit in one connection")
    if any(not 1 <= len(name) <= 200 for name in streams):
        raise InvalidInput("A stream's name has 1 to 200 characters")
    known: dict[str, int] = {}
    for name, number in parse_qsl(last_id):
        if not number.isascii() or not number.isdigit() or len(number) > 18:
            raise BadRequest("Last-Event-ID is not one of ours")
        known[name] = int(number)
    return {name: known.get(name, 0) for name in dict.fromkeys(streams)}
