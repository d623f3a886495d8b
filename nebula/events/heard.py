"""What has happened since, as far as somebody's trigger waits for it and they may hear of it."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

from nebula.auth.principal import Principal
from nebula.errors import NotAuthenticated
from nebula.events.event import Event
from nebula.events.triggers import EVENTS, Trigger, matches, source_of

if TYPE_CHECKING:
    from nebula.app import Parts

_AT_ONCE = 200
_OTHERS = "events:admin"


async def with_news(
    parts: "Parts", waiting: Iterable[tuple[str, Mapping[str, Any] | None, int]]
) -> list[str]:
    """Return the ids of those on whose stream something has happened since they looked last.

    `waiting` gives an id, a trigger as it is kept, and up to which event was looked.
    """
    known = [
        (each, EVENTS[trigger["event"]].stream, heard)
        for each, trigger, heard in waiting
        if is_known(trigger)
    ]
    last = {stream: await parts.events.last(stream) for stream in {each[1] for each in known}}
    return [each for each, stream, heard in known if last[stream] > heard]


def is_known(trigger: Mapping[str, Any] | None) -> TypeGuard[Mapping[str, Any]]:
    """Say whether a trigger waits for an event of today's; one of an older version waits no more."""
    return trigger is not None and trigger["event"] in EVENTS


async def heard_since(
    parts: "Parts", trigger: Trigger, after: int, listener: Principal
) -> tuple[list[Event], int]:
    """Return the events that a trigger waits for, and up to which event was looked.

    `listener` is its owner, limited to seeing events: they hear their own, everybody's, and with
    `events:admin` those of others.
    """
    events = await parts.events.read(source_of(trigger).stream, after, limit=_AT_ONCE)
    hits = [each for each in events if matches(trigger, each.kind, each.data)]
    own = source_of(trigger).own
    heard = [each for each in hits if await _may_hear(parts, listener, each, own=own)]
    return heard, events[-1].seq if events else after


async def _may_hear(parts: "Parts", listener: Principal, event: Event, *, own: bool) -> bool:
    if event.owner in {None, listener.id}:
        return True
    if own:
        return False
    try:
        owner = await parts.auth.current(listener)
    except NotAuthenticated:
        return False
    return owner.can(_OTHERS)
