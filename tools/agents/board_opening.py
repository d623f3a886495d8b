"""Puts up a board: who is asked, how many have to succeed, and what nobody may do on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.frozen import frozen_of
from nebula.auth.grant import EVERYTHING
from nebula.auth.principal import Caller, Principal
from nebula.auth.tokens import new_id
from nebula.errors import Conflict, InvalidInput, PermissionDenied
from nebula.jobs.schedules.service import database_now
from nebula.secrets.redact import hide
from tools.agents.board_schemas import Mode
from tools.agents.models import AgentRow, BoardMemberRow, BoardRow
from tools.agents.service import found

MOST_MEMBERS = 8
MOST_OPEN = 5
"""Open boards of one person."""


@dataclass(frozen=True)
class Asked:
    """A task for several agents, as somebody gives it."""

    cause: str
    job_id: str | None
    task: str
    agents: Sequence[str]
    mode: Mode
    join: str | None
    at_least: int | None
    wait: bool
    minutes: float


async def put_up(session: AsyncSession, caller: Caller, asked: Asked) -> BoardRow:
    """Put up a board with its members.

    Raises:
        NotFound: when an agent is not there.
        PermissionDenied: when one acts for somebody else.
        InvalidInput: for the same agent twice, or more successes than agents.
        Conflict: when too many are open.
    """
    principal = caller.principal
    agents = [await _own(session, principal, name) for name in asked.agents]
    joiner = None if asked.join is None else await _own(session, principal, asked.join)
    _check(asked, agents)
    await _check_room(session, principal)
    return await _put_up(session, caller, asked, agents, joiner)


async def _own(session: AsyncSession, principal: Principal, agent: str) -> AgentRow:
    row = await found(session, principal, agent)
    if row.owner_id != principal.id:
        raise PermissionDenied(
            f"{row.name} acts for {row.owner_name}; a task is given to one's own agents."
        )
    return row


def _check(asked: Asked, agents: Sequence[AgentRow]) -> None:
    ids = [agent.id for agent in agents]
    if len(set(ids)) < len(ids):
        raise InvalidInput("An agent is named twice", hint="Name each agent once.")
    if asked.at_least is not None and asked.at_least > len(ids):
        raise InvalidInput(f"There are {len(ids)} agents, so {asked.at_least} cannot succeed")


async def _check_room(session: AsyncSession, principal: Principal) -> None:
    mine = select(func.count()).select_from(BoardRow).where(BoardRow.owner_id == principal.id)
    if int(await session.scalar(mine.where(BoardRow.state == "open")) or 0) >= MOST_OPEN:
        raise Conflict(
            f"{MOST_OPEN} tasks of yours are with agents already", hint="Stop one or wait."
        )


async def _put_up(
    session: AsyncSession,
    caller: Caller,
    asked: Asked,
    agents: Sequence[AgentRow],
    joiner: AgentRow | None,
) -> BoardRow:
    principal = caller.principal
    if joiner is not None and joiner.id in {agent.id for agent in agents}:
        raise InvalidInput(f"{joiner.name} cannot join its own report", hint="Name another agent.")
    board = BoardRow(
        id=new_id("brd"),
        owner_id=principal.id,
        owner_name=principal.name,
        cause=asked.cause,
        job_id=asked.job_id,
        task=hide(asked.task),
        mode=asked.mode,
        at_least=asked.at_least or len(agents),
        wait=asked.wait,
        labels=sorted(caller.labels),
        within=frozen_of(principal, EVERYTHING).model_dump(mode="json"),
        deadline=await database_now(session) + timedelta(minutes=asked.minutes),
    )
    session.add(board)
    await session.flush()
    everyone = [*agents, *([] if joiner is None else [joiner])]
    for position, agent in enumerate(everyone):
        session.add(
            BoardMemberRow(
                board_id=board.id,
                position=position,
                joins=agent is joiner,
                agent_id=agent.id,
                agent=agent.name,
            )
        )
    await session.flush()
    await session.refresh(board)
    return board
