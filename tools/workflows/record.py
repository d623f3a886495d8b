"""What a run writes down while it goes on: only the process that holds the run writes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, update

from nebula.errors import Conflict
from nebula.policy.labels import Label
from tools.workflows.models import WorkflowRow, WorkflowRunRow, WorkflowStepRow

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from nebula.app import Parts

HELD_SECONDS = 30.0
"""After so long without a sign of life, another process takes a run up."""


class LostHold(Conflict):
    """Another process works on this run, or it has ended."""


@dataclass(frozen=True)
class Opening:
    """A try that begins: what is fixed before anything happens."""

    path: str
    try_: int
    step: str
    tool: str
    call_id: str
    arguments: Mapping[str, Any]
    labels: Collection[Label]
    not_before: datetime | None = None
    state: str = "running"


@dataclass(frozen=True)
class Closing:
    """How a try stands now, or how it has ended."""

    state: str
    result: dict[str, Any] | None = None
    error: dict[str, object] | None = None
    gives: Collection[Label] = ()
    approval_id: str | None = None
    job_id: str | None = None
    not_before: datetime | None = None
    superseded: bool = False


@dataclass
class Record:
    """The steps of one run, as far as they have come; each write needs the hold on the run."""

    parts: "Parts"
    workflow: WorkflowRow
    run: WorkflowRunRow
    holder: str
    tries: dict[str, WorkflowStepRow] = field(default_factory=dict)
    """The latest try of each path."""

    @classmethod
    async def read(
        cls, parts: "Parts", workflow: WorkflowRow, run: WorkflowRunRow, holder: str
    ) -> "Record":
        """Read what has become of a run's steps so far."""
        rows = select(WorkflowStepRow).where(WorkflowStepRow.run_id == run.id)
        async with parts.db.session() as session:
            found = list(await session.scalars(rows.order_by(WorkflowStepRow.try_)))
        return cls(parts, workflow, run, holder, {row.path: row for row in found})

    @property
    def read_labels(self) -> frozenset[Label]:
        """Return the labels of everything that the run has read so far."""
        given = {label for row in self.tries.values() for label in row.gives}
        own = {*self.run.labels, *self.workflow.labels, *given}
        return frozenset(map(Label, own))

    def has_begun(self, path: str) -> bool:
        """Say whether anything is on record of a step, or of what is within it."""
        inside = (f"{path}/", f"{path}[")
        return path in self.tries or any(each.startswith(inside) for each in self.tries)

    async def begin(self, opening: Opening) -> WorkflowStepRow:
        """Write that a try begins, or how it is left out.

        Raises:
            LostHold: when this process does not hold the run any more.
        """
        row = WorkflowStepRow(
            run_id=self.run.id,
            path=opening.path,
            try_=opening.try_,
            step=opening.step,
            tool=opening.tool,
            call_id=opening.call_id,
            state=opening.state,
            arguments=dict(opening.arguments),
            labels=sorted(opening.labels),
            gives=[],
            not_before=opening.not_before,
            ended_at=func.clock_timestamp() if opening.state == "skipped" else None,
        )
        async with self.parts.db.session() as session:
            await self._held(session)
            session.add(row)
            await session.flush()
            await session.refresh(row)
            await self._tell(session, row)
        self.tries[row.path] = row
        return row

    async def close(self, row: WorkflowStepRow, closing: Closing) -> WorkflowStepRow:
        """Write how a try stands."""
        ended = closing.state not in {"running", "waiting"}
        values = {
            "state": closing.state,
            "result": closing.result,
            "error": closing.error,
            "gives": sorted(closing.gives),
            "approval_id": closing.approval_id or row.approval_id,
            "job_id": closing.job_id or row.job_id,
            "not_before": closing.not_before,
            "superseded": closing.superseded,
            "ended_at": func.clock_timestamp() if ended else None,
        }
        async with self.parts.db.session() as session:
            await self._held(session)
            key = (row.run_id, row.path, row.try_)
            kept = await session.get(WorkflowStepRow, key, with_for_update=True)
            assert kept is not None
            before = kept.state
            for name, value in values.items():
                setattr(kept, name, value)
            await session.flush()
            await session.refresh(kept)
            if kept.state != before:
                await self._tell(session, kept)
        self.tries[kept.path] = kept
        return kept

    async def _held(self, session: "AsyncSession") -> None:
        held = select(WorkflowRunRow.id).where(
            WorkflowRunRow.id == self.run.id,
            WorkflowRunRow.held_by == self.holder,
            WorkflowRunRow.state == "running",
        )
        if await session.scalar(held.with_for_update(read=True)) is None:
            raise LostHold

    async def _tell(self, session: "AsyncSession", row: WorkflowStepRow) -> None:
        data = {"run": row.run_id, "workflow": self.workflow.name}
        data |= {"step": row.step, "path": row.path, "state": row.state}
        stream = f"workflow:{self.workflow.id}"
        await self.parts.events.publish(
            stream, "workflow.step", data, self.workflow.owner_id, session=session
        )


async def hold(session: "AsyncSession", run: WorkflowRunRow, holder: str) -> None:
    """Take a run whose row is locked."""
    run.state, run.held_by, run.wake_at = "running", holder, None
    run.held_until = func.clock_timestamp() + timedelta(seconds=HELD_SECONDS)
    if run.started_at is None:
        run.started_at = func.clock_timestamp()
    await session.flush()
    await session.refresh(run)


@dataclass(frozen=True)
class Held:
    """A run that a process still holds."""

    cancelled: bool
    """Somebody wants it to end."""
    over: bool
    """Its last steps have had their time."""


async def still_held(parts: "Parts", runs: Sequence[str], holder: str) -> dict[str, Held]:
    """Say that the holder lives; return the runs it still holds, and whether each is to end."""
    mine = update(WorkflowRunRow).where(
        WorkflowRunRow.id.in_(runs),
        WorkflowRunRow.held_by == holder,
        WorkflowRunRow.state == "running",
    )
    until = func.clock_timestamp() + timedelta(seconds=HELD_SECONDS)
    over = func.coalesce(WorkflowRunRow.finish_by <= func.clock_timestamp(), False)
    kept = mine.values(held_until=until).returning(
        WorkflowRunRow.id, WorkflowRunRow.cancel_requested, over
    )
    async with parts.db.session() as session:
        return {row[0]: Held(row[1], row[2]) for row in await session.execute(kept)}
