"""Boards: a task given to several agents, moved on by whoever looks, each step once."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.frozen import Frozen
from nebula.auth.principal import Caller, Principal
from nebula.errors import NebulaError, NotFound
from nebula.jobs.job import JobState
from nebula.jobs.models import JobRow
from nebula.jobs.schedules.service import database_now
from nebula.policy.labels import Label
from nebula.secrets.redact import hide
from tools.agents.board_opening import Asked, put_up
from tools.agents.board_schemas import Board, Member, how_far, in_words
from tools.agents.joining import LATE, NOT_YET, OPEN, Move, Rule, next_move
from tools.agents.models import AgentRow, AgentRunRow, BoardMemberRow, BoardRow
from tools.agents.runs import Runs, Wanted
from tools.agents.schemas import Handed
from tools.agents.service import ADMIN
from tools.agents.stopping import stop_run

if TYPE_CHECKING:
    from nebula.app import Parts

_KEPT = timedelta(days=90)
_LONGEST_REPORT = 6_000
"""Characters of a report that the next agent reads."""


class Boards:
    """The boards of this installation; people see their own, and all with `agents:admin`."""

    def __init__(self, parts: "Parts") -> None:
        """Take the parts that boards rest on."""
        self._parts = parts
        self._runs = Runs(parts)

    async def open(self, caller: Caller, asked: Asked) -> Board:
        """Put up a board, or return the one its cause has got already.

        Raises:
            NotFound: when an agent is not there.
            PermissionDenied: when one acts for somebody else.
            InvalidInput: for the same agent twice, or more successes than agents.
            Conflict: when too many are open.
        """
        principal = caller.principal
        async with self._parts.db.session() as session:
            known = await session.scalar(
                select(BoardRow).where(
                    BoardRow.owner_id == principal.id, BoardRow.cause == asked.cause
                )
            )
            if known is None:
                known = await put_up(session, caller, asked)
            return await _shown(session, known)

    async def get(self, principal: Principal, board: str = "") -> Board:
        """Return a board by its id, or the newest.

        Raises:
            NotFound: when there is none that the principal may see.
        """
        query = select(BoardRow).order_by(BoardRow.created_at.desc()).limit(1)
        if board:
            query = query.where((BoardRow.id == board) | (BoardRow.job_id == board))
        if not principal.can(ADMIN):
            query = query.where(BoardRow.owner_id == principal.id)
        async with self._parts.db.session() as session:
            row = await session.scalar(query)
            if row is None:
                raise NotFound("There is no such board", hint="Give a task to agents first.")
            return await _shown(session, row)

    async def cancel(self, principal: Principal, board: str) -> int:
        """End a board and stop who is at work on it; return how many those are."""
        known = await self.get(principal, board)
        async with self._parts.db.session() as session:
            row = await session.get(BoardRow, known.id, with_for_update=True)
            if row is None or row.state != "open":
                return 0
            stopped = await self._give_up(session, await _members(session, row.id))
            await self._end(session, row, "cancelled", f"{principal.name} stopped it.")
        return stopped

    async def move_on(self) -> int:
        """Take every open board its next step; return how many are open."""
        query = select(BoardRow.id).where(BoardRow.state == "open").order_by(BoardRow.created_at)
        async with self._parts.db.session() as session:
            ids = list(await session.scalars(query.limit(200)))
        for board_id in ids:
            await self._move(board_id)
        await self._wake()
        return len(ids)

    async def prune(self) -> None:
        """Forget boards of long ago."""
        old = func.clock_timestamp() - BoardRow.created_at > _KEPT
        async with self._parts.db.session() as session:
            await session.execute(delete(BoardRow).where(old, BoardRow.state != "open"))

    async def _wake(self) -> None:
        """Let the jobs go on whose boards have ended; until then they need no worker."""
        ended = (
            select(JobRow.id)
            .join(BoardRow, BoardRow.id == JobRow.waits_for)
            .where(JobRow.state == JobState.QUEUED.value, BoardRow.state != "open")
            .with_for_update(of=JobRow, skip_locked=True)
        )
        async with self._parts.db.session() as session:
            for job_id in list(await session.scalars(ended)):
                await self._parts.jobs.moves.answered(session, job_id)

    async def _move(self, board_id: str) -> None:
        async with self._parts.db.session() as session:
            query = select(BoardRow).where(BoardRow.id == board_id, BoardRow.state == "open")
            board = await session.scalar(query.with_for_update(skip_locked=True))
            if board is None:
                return
            members = await _members(session, board.id)
            before = {each.position: each.state for each in members}
            await _look(session, members)
            if await self._is_given_up(session, board):
                await self._give_up(session, members)
                await self._end(session, board, "cancelled", "Its job ended without it.")
                return
            await self._do(session, board, members, await _next(session, board, members))
            changed = [each for each in members if each.state != before[each.position]]
            if changed:
                await self._tell(session, board, members, changed)

    async def _tell(
        self,
        session: AsyncSession,
        board: BoardRow,
        members: Sequence[BoardMemberRow],
        changed: Sequence[BoardMemberRow],
    ) -> None:
        """Tell how far the board is: a line of its job's log for each change, and the whole."""
        if board.state == "open":
            await self._announce(session, board)
        if board.job_id is not None:
            jobs = self._parts.jobs
            said = [
                in_words(each) + (f": {each.problem}" if each.problem else "") for each in changed
            ]
            await jobs.append_log(board.job_id, *map(hide, said), session=session)
            await jobs.waits(session, board.job_id, how_far(members))

    async def _do(
        self, session: AsyncSession, board: BoardRow, members: list[BoardMemberRow], move: Move
    ) -> None:
        if move.give_up_rest:
            await self._give_up(session, [each for each in members if not each.joins or move.end])
        for at in move.start:
            await self._start(session, board, members, members[at])
        if move.join:
            await self._start(session, board, members, members[-1])
        if move.end:
            await self._end(session, board, move.end, move.why)

    async def _start(
        self,
        session: AsyncSession,
        board: BoardRow,
        members: Sequence[BoardMemberRow],
        member: BoardMemberRow,
    ) -> None:
        """Put a member's run in line; whatever forbids it is what the board says of it."""
        agent = await session.get(AgentRow, member.agent_id, with_for_update=True)
        if agent is None:
            member.state, member.problem = "skipped", "There is no such agent any more."
            return
        wanted = Wanted(
            cause=f"board:{board.id}:{member.position}",
            started_by=f"{board.owner_name}, with others",
            task=board.task,
            labels=frozenset(map(Label, board.labels)),
            handed=_handed(board, members, member),
            within=Frozen.model_validate(board.within),
        )
        try:
            run = await self._runs.asked(session, agent, wanted)
        except NebulaError as error:
            member.state, member.problem = "skipped", str(error)
            return
        member.run_id, member.state = run.id, run.state

    async def _give_up(self, session: AsyncSession, members: Sequence[BoardMemberRow]) -> int:
        """Stop who is at work and take back who has not begun."""
        stopped = 0
        for member in members:
            if member.run_id is not None and member.state in OPEN:
                run = await session.get(AgentRunRow, member.run_id, with_for_update=True)
                stopped += run is not None and await stop_run(session, self._parts, run)
                member.state = LATE
            elif member.state == NOT_YET:
                member.state = "skipped"
        return stopped

    async def _is_given_up(self, session: AsyncSession, board: BoardRow) -> bool:
        """Say whether the job that followed a board has ended before it."""
        if board.job_id is None:
            return False
        job = await session.get(JobRow, board.job_id)
        return job is None or job.cancel_requested or JobState(job.state).ended

    async def _end(self, session: AsyncSession, board: BoardRow, state: str, why: str) -> None:
        board.state, board.outcome, board.ended_at = state, why, await database_now(session)
        await self._announce(session, board)

    async def _announce(self, session: AsyncSession, board: BoardRow) -> None:
        """Tell on the board's stream that it has changed, in the same transaction."""
        await session.flush()
        data = {"board": board.id, "state": board.state}
        await self._parts.events.publish(
            f"board:{board.id}", "board.changed", data, board.owner_id, session=session
        )


async def _members(session: AsyncSession, board_id: str) -> list[BoardMemberRow]:
    query = select(BoardMemberRow).where(BoardMemberRow.board_id == board_id)
    return list(await session.scalars(query.order_by(BoardMemberRow.position)))


async def _look(session: AsyncSession, members: Sequence[BoardMemberRow]) -> None:
    """Write onto the board how its members' runs are."""
    for member in members:
        if member.run_id is None or member.state not in OPEN:
            continue
        run = await session.get(AgentRunRow, member.run_id)
        if run is None:
            member.state, member.problem = "cancelled", "Its run is gone."
            continue
        for name in ("state", "session_id", "report", "problem", "labels", "seconds", "tokens"):
            setattr(member, name, getattr(run, name))


async def _next(session: AsyncSession, board: BoardRow, members: Sequence[BoardMemberRow]) -> Move:
    working = [member.state for member in members if not member.joins]
    joiner = next((member.state for member in members if member.joins), None)
    over = await database_now(session) >= board.deadline
    rule = Rule(board.mode == "chain", board.at_least, board.wait)
    return next_move(rule, working, joiner, over=over)


def _handed(
    board: BoardRow, members: Sequence[BoardMemberRow], member: BoardMemberRow
) -> list[Handed]:
    """Return what a member begins with: the reports before it, for the joiner also why one lacks."""
    if not member.joins and board.mode != "chain":
        return []
    before = [each for each in members if each.position < member.position]
    return [
        Handed(
            agent=each.agent,
            state=each.state,
            text=(each.report if each.state == "done" else each.problem)[:_LONGEST_REPORT],
            labels=[Label(label) for label in each.labels],
        )
        for each in before
        if member.joins or each.state == "done"
    ]


async def _shown(session: AsyncSession, row: BoardRow) -> Board:
    members = await _members(session, row.id)
    kept = {name: getattr(row, name) for name in Board.model_fields if hasattr(row, name)}
    kept["members"] = [Member.model_validate(each, from_attributes=True) for each in members]
    return Board.model_validate(kept)
