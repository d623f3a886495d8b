"""Starts workflows when something happens: each event once, in its order, whoever looks."""

from typing import TYPE_CHECKING

from sqlalchemy import select

from nebula.auth.frozen import Frozen
from nebula.auth.grant import Grant
from nebula.events.heard import heard_since, is_known, with_news
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
    news = await with_news(parts, ((row[0], row[1], row[2]) for row in rows))
    return sum([await _of_workflow(parts, runs, each) for each in news])


async def _of_workflow(parts: "Parts", runs: Runs, workflow_id: str) -> int:
    mine = select(WorkflowRow).where(WorkflowRow.id == workflow_id, WorkflowRow.enabled)
    async with parts.db.session() as session:
        row = await session.scalar(mine.with_for_update(skip_locked=True))
        if row is None or not is_known(row.trigger):
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
