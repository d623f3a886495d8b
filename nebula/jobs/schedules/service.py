"""Schedules: made, changed and ended by their owner; the ticker fires them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.principal import Caller, Principal, Surface
from nebula.auth.tokens import new_id
from nebula.db.engine import Database
from nebula.errors import InvalidInput, NotFound, PermissionDenied
from nebula.jobs.schedules.models import ScheduleRow, TickRow
from nebula.jobs.schedules.schedule import (
    MOST_CAUGHT_UP,
    MOST_GRACE,
    Missed,
    Rights,
    Schedule,
    Tick,
)
from nebula.jobs.schedules.timing import Cron, Every, Once, jitter_of, next_fire
from nebula.policy.ask import Ask, Verdict
from nebula.policy.decide import standing
from nebula.policy.labels import Label
from nebula.policy.rules import Rules
from nebula.tool.arguments import problems
from nebula.tool.definition import AnyTool, Audience
from nebula.tool.registry import Registry

ADMIN = "jobs:admin"
_MOST_JITTER = 86_400.0
_OWN_WORDS = frozenset({Label.USER})


class Options(BaseModel, frozen=True):
    """How a schedule behaves beside its timing; seconds are seconds."""

    missed: Missed = Missed.ONCE
    grace_seconds: float = 60.0
    catch_up: int = 10
    jitter_seconds: float = 0.0
    priority: int = 0
    session_id: str | None = None


class Schedules:
    """What runs by itself, for its owners (and who holds `jobs:admin`)."""

    def __init__(self, db: Database, registry: Registry) -> None:
        """Take where schedules are kept, and the tools they may run."""
        self._db = db
        self._registry = registry

    async def create(
        self,
        owner: Principal,
        name: str,
        *,
        tool: str,
        arguments: Mapping[str, Any],
        timing: Cron | Once | Every,
        options: Options = Options(),  # noqa: B008 - frozen
        labels: frozenset[Label] = _OWN_WORDS,
    ) -> Schedule:
        """Let a tool run by itself with the rights its owner has now, and no later ones.

        `labels` say what whoever makes it had read; every tick carries them.

        Raises:
            NotFound: when there is no such tool.
            PermissionDenied: when the owner may not use it, or only a person may.
            InvalidInput: when arguments or options do not fit, or no moment lies ahead.
        """
        _check(options)
        known = self._registry.get(tool)
        _check_rights(known, owner)
        row = ScheduleRow(
            id=new_id("sch"),
            name=_named(name),
            tool=tool,
            arguments=_validated(known, arguments),
            timing=timing.model_dump(mode="json"),
            owner_id=owner.id,
            owner_name=owner.name,
            rights=_rights_of(owner).model_dump(mode="json"),
            enabled=True,
            labels=sorted(labels),
            **options.model_dump(mode="json"),
        )
        async with self._db.session() as session:
            _wait_for_next(row, timing, await database_now(session))
            session.add(row)
            await session.flush()
            await session.refresh(row)
            return shown(row)

    async def get(self, schedule_id: str, principal: Principal) -> Schedule:
        """Return one; NotFound also when it is somebody else's."""
        async with self._db.session() as session:
            return shown(await _own(session, schedule_id, principal))

    async def ticks(self, schedule_id: str, principal: Principal, *, limit: int = 50) -> list[Tick]:
        """Return what became of the latest ticks, newest first."""
        async with self._db.session() as session:
            await _own(session, schedule_id, principal)
            rows = await session.scalars(
                select(TickRow)
                .where(TickRow.schedule_id == schedule_id)
                .order_by(TickRow.due_at.desc())
                .limit(limit)
            )
            return [Tick.model_validate(row, from_attributes=True) for row in rows]

    async def list(self, principal: Principal, *, limit: int = 100) -> list[Schedule]:
        """List one's own, or everybody's with `jobs:admin`; those that fire next come first."""
        query = select(ScheduleRow).order_by(
            ScheduleRow.next_fire_at.asc().nulls_last(), ScheduleRow.id
        )
        if not principal.can(ADMIN):
            query = query.where(ScheduleRow.owner_id == principal.id)
        async with self._db.session() as session:
            return [shown(row) for row in await session.scalars(query.limit(limit))]

    async def update(
        self,
        schedule_id: str,
        by: Principal,
        *,
        name: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        timing: Cron | Once | Every | None = None,
        options: Options | None = None,
        labels: frozenset[Label] = _OWN_WORDS,
    ) -> Schedule:
        """Change what is given; its rights stay those of its making, and are checked again.

        `labels` of whoever changes it are added: a change may be made of what they had read.
        """
        async with self._db.session() as session:
            row = await _own(session, schedule_id, by, lock=True)
            known = self._registry.get(row.tool)
            _check_rights(known, by)
            row.labels = sorted({*row.labels, *labels})
            if name is not None:
                row.name = _named(name)
            if arguments is not None:
                row.arguments = _validated(known, arguments)
            if options is not None:
                _check(options)
                for field, value in options.model_dump(mode="json").items():
                    setattr(row, field, value)
            if timing is not None:
                row.timing = timing.model_dump(mode="json")
            if row.enabled and (timing is not None or options is not None):
                _wait_for_next(row, shown(row).timing, await database_now(session))
            await session.flush()
            return shown(row)

    async def pause(self, schedule_id: str, by: Principal, reason: str = "") -> Schedule:
        """Fire no more until `resume`; what is due meanwhile is not made up for."""
        async with self._db.session() as session:
            row = await _own(session, schedule_id, by, lock=True)
            row.enabled, row.stopped_because = False, reason or f"Paused by {by.name}."
            await session.flush()
            return shown(row)

    async def resume(self, schedule_id: str, by: Principal) -> Schedule:
        """Fire again, from the next due moment on."""
        async with self._db.session() as session:
            row = await _own(session, schedule_id, by, lock=True)
            _check_rights(self._registry.get(row.tool), by)
            _wait_for_next(row, shown(row).timing, await database_now(session))
            row.enabled, row.stopped_because = True, ""
            await session.flush()
            return shown(row)

    async def delete(self, schedule_id: str, by: Principal) -> None:
        """End it for good; jobs it started go on."""
        async with self._db.session() as session:
            await session.delete(await _own(session, schedule_id, by, lock=True))


async def database_now(session: AsyncSession) -> datetime:
    """Return the database's time: the only clock that decides."""
    now: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    return now


def shown(row: ScheduleRow) -> Schedule:
    """Return a row as its owner sees it."""
    return Schedule.model_validate(row, from_attributes=True)


async def _own(
    session: AsyncSession, schedule_id: str, principal: Principal, *, lock: bool = False
) -> ScheduleRow:
    row = await session.get(ScheduleRow, schedule_id, with_for_update=lock or None)
    if row is None or not (row.owner_id == principal.id or principal.can(ADMIN)):
        raise NotFound(f"There is no schedule {schedule_id!r}")
    return row


def _wait_for_next(row: ScheduleRow, timing: Cron | Once | Every, now: datetime) -> None:
    due = next_fire(timing, now)
    if due is None:
        raise InvalidInput("No moment of this schedule lies ahead", hint="Choose a later one.")
    row.next_due_at = due
    row.next_fire_at = due + jitter_of(row.id, due, row.jitter_seconds)


def _named(name: str) -> str:
    name = " ".join(name.split())
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise InvalidInput("A schedule's name has 1 to 100 printable characters")
    return name


def _check(options: Options) -> None:
    if not 0 <= options.grace_seconds <= MOST_GRACE:
        raise InvalidInput(f"The grace is 0 to {MOST_GRACE:g} seconds")
    if not 1 <= options.catch_up <= MOST_CAUGHT_UP:
        raise InvalidInput(f"Between 1 and {MOST_CAUGHT_UP} missed ticks can be made up for")
    if not 0 <= options.jitter_seconds <= _MOST_JITTER:
        raise InvalidInput(f"The jitter is 0 to {_MOST_JITTER:g} seconds")


def _check_rights(tool: AnyTool, owner: Principal) -> None:
    decision = standing(Ask(tool, Caller(owner, Surface.SCHEDULE)), Rules())
    if decision.verdict is Verdict.BLOCK:
        raise PermissionDenied(decision.reason)
    if tool.audience is Audience.HUMAN:
        raise PermissionDenied(f"Only a person may use {tool.name}, no schedule.")


def _rights_of(owner: Principal) -> Rights:
    return Rights(
        permissions=tuple(sorted(owner.permissions)),
        denied=tuple(sorted(owner.denied)),
        key_id=owner.key_id,
    )


def _validated(tool: AnyTool, arguments: Mapping[str, Any]) -> dict[str, Any]:
    try:
        values = tool.input_model.model_validate(dict(arguments))
    except ValidationError as error:
        raise problems(tool, error) from error
    if any(isinstance(value, SecretStr | SecretBytes) for _, value in values):
        raise InvalidInput("A schedule keeps no secrets", hint="Store it as a secret, by name.")
    return values.model_dump(mode="json", exclude_unset=True)
