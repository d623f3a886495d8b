"""Starts workflows when something happens: each event once, in its order, whoever looks."""

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from nebula.auth.frozen import Frozen
from nebula.auth.grant import Grant
from nebula.events.heard import heard_since
from nebula.events.triggers import EVENTS, Trigger
from tools.workflows.models import WorkflowRow
from tools.workflows.runs import Runs, Wanted

if TYPE_CHECKING:
    from nebula.app import Parts

_SEEING = Grant(frozenset({"events:admin"}))


async def listen(parts: "Parts", runs: Runs) -> int:
    """Look at what has happened since, and return how many runs were asked for."""
    waiting = select(WorkflowRow.id, WorkflowRow.trigger, WorkflowRow.heard).where(
        WorkflowRow.enabled, WorkflowRow.trigger.is_not(None)
    )
    async with parts.db.session() as session:
        rows = (await session.execute(waiting)).all()
    known = [(row[0], EVENTS[row[1]["event"]].stream, row[2]) for row in rows if _known(row[1])]
    last = {stream: await parts.events.last(stream) for stream in {each[1] for each in known}}
    asked = 0
    for workflow, stream, heard in known:
        if last[stream] > heard:
            asked += await _of_workflow(parts, runs, workflow)
    return asked


def _known(trigger: dict[str, Any] | None) -> bool:
    # An event that only an older version knew is not waited for any more.
    return trigger is not None and trigger["event"] in EVENTS


async def _of_workflow(parts: "Parts", runs: Runs, workflow_id: str) -> int:
    mine = select(WorkflowRow).where(WorkflowRow.id == workflow_id, WorkflowRow.enabled)
    async with parts.db.session() as session:
        row = await session.scalar(mine.with_for_update(skip_locked=True))
        if row is None or not _known(row.trigger):
            return 0
        trigger = Trigger.model_validate(row.trigger)
        rights = Frozen.model_validate(row.rights)
        listener = rights.principal(row.owner_id, row.owner_name, _SEEING)
        hits, row.heard = await heard_since(parts, trigger, row.heard, listener)
        fields = EVENTS[trigger.event].fields
        for event in hits:
            told = {name: str(event.data.get(name) or "") for name in fields}
            cause = f"event:{event.stream}:{event.seq}"
            wanted = Wanted(cause, f"event {event.kind}", by_itself=True, event=told)
            await runs.asked(session, row, wanted)
        return len(hits)
