"""Keeps what can be used once: planned steps that have run, and values a person has endorsed."""

import json
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import uuid4

from pydantic import BaseModel, TypeAdapter, ValidationError
from sqlalchemy import func, text
from sqlalchemy.dialects.postgresql import insert

from nebula.auth.principal import Caller, Principal, Surface
from nebula.db.bare import Statements
from nebula.db.engine import Database
from nebula.errors import Conflict, InvalidInput, PermissionDenied
from nebula.policy.ask import Uses
from nebula.tool.definition import AnyTool
from nebula.tool.vouching.models import EndorsementRow

_MINUTES = 60
_LONGEST = 2_000
_KEPT_DAYS = 90
# Doors at which it is known that a person endorses, and which.
_PERSONAL = frozenset({Surface.CHAT, Surface.REST, Surface.TERMINAL, Surface.DISCORD})

_SPENT = text(
    "SELECT coalesce(string_agg(id, ' '), '') FROM policy_step_uses"
    " WHERE id = ANY(:steps) AND call_id <> :call"
)
_VALID = (
    " FROM policy_endorsements WHERE principal_id = :principal AND session_id = :session"
    " AND tool = :tool AND (used_by = :call OR used_by IS NULL AND expires_at > clock_timestamp())"
)
_OF_CALL = text(
    "SELECT coalesce(CAST(json_agg(json_build_object('id', id, 'selector', selector,"
    f" 'value', value) ORDER BY created_at) AS text), '[]'){_VALID}"
)
# The same call again finds its own row, and goes on.
_TAKE_STEP = text(
    "INSERT INTO policy_step_uses AS known (id, principal_id, call_id)"
    " VALUES (:id, :principal, :call) ON CONFLICT (id) DO UPDATE SET at = known.at"
    " WHERE known.call_id = excluded.call_id AND known.principal_id = excluded.principal_id"
    " RETURNING id"
)
_TAKE_ENDORSEMENT = text(
    "UPDATE policy_endorsements SET used_at = coalesce(used_at, clock_timestamp()), used_by = :call"
    " WHERE id = :id AND (used_by = :call OR used_by IS NULL AND expires_at > clock_timestamp())"
    " RETURNING id"
)
_PRUNE = text(
    "WITH steps AS (DELETE FROM policy_step_uses"
    "  WHERE at < clock_timestamp() - make_interval(days => :days))"
    " DELETE FROM policy_endorsements"
    " WHERE created_at < clock_timestamp() - make_interval(days => :days)"
)


class Endorsed(BaseModel):
    """A value that a person vouched for, and which nobody has used yet."""

    id: str
    selector: str
    value: Any


class Endorsement(BaseModel):
    """What was endorsed, as the person sees it."""

    id: str
    tool: str
    selector: str
    value: Any
    session_id: str
    expires_at: datetime


_ENDORSED: TypeAdapter[list[Endorsed]] = TypeAdapter(list[Endorsed])


def fitting(tool: AnyTool, argument: str, value: Any) -> Any:
    """Return a value as the argument takes it, as JSON; one stands for a list of one.

    Raises:
        InvalidInput: when the tool has no such argument, or it takes no such value.
    """
    parameter = tool.input_model.model_fields.get(argument)
    if parameter is None:
        raise InvalidInput(f"{tool.name} takes no {argument[:80]!r}")
    annotated: Any = Annotated[parameter.annotation, parameter]
    check: TypeAdapter[Any] = TypeAdapter(annotated)
    for candidate in (value, [value]):
        try:
            return check.dump_python(check.validate_python(candidate), mode="json")
        except ValidationError:
            continue
    raise InvalidInput(f"{argument} of {tool.name} cannot be that")


def _check_endorsement(
    tool: AnyTool, selector: str, value: Any, *, by: Principal, surface: Surface
) -> None:
    if surface not in _PERSONAL:
        raise PermissionDenied("Only a person endorses a value.")
    if not by.can(tool.permission):
        raise PermissionDenied(f"{tool.name} needs the permission {tool.permission}.")
    if selector not in tool.places:
        known = ", ".join(tool.places) or "none"
        raise InvalidInput(
            f"{selector!r} does not decide where {tool.name} takes effect",
            hint=f"Those that do: {known}.",
        )
    if len(json.dumps(value)) > _LONGEST:
        raise InvalidInput("That value is too long to be vouched for")


class Vouching:
    """Reads, takes and gives what can be used once."""

    def __init__(self, db: Database) -> None:
        """Take the database."""
        self._db = db

    async def spent(self, steps: Collection[str], call_id: str) -> frozenset[str]:
        """Return those of the steps that another call has used."""
        async with self._db.bare() as bare:
            found = await bare.scalar(_SPENT, {"steps": list(steps), "call": call_id})
        return frozenset(str(found).split())

    async def endorsed(self, caller: Caller, tool: str, call_id: str) -> Sequence[Endorsed]:
        """Return the values that count for a call, oldest first."""
        if caller.session_id is None:
            return ()
        values = {
            "principal": caller.principal.id,
            "session": caller.session_id,
            "tool": tool,
            "call": call_id,
        }
        async with self._db.bare() as bare:
            return _ENDORSED.validate_json(await bare.scalar(_OF_CALL, values))

    async def endorse(
        self,
        tool: AnyTool,
        selector: str,
        value: Any,
        *,
        principal_id: str,
        session_id: str,
        by: Principal,
        surface: Surface,
        minutes: float = _MINUTES,
    ) -> Endorsement:
        """Let one call of a conversation use a value, as if its person had said it.

        `principal_id` is whose conversation it is; `by` must be able to use the tool themselves.

        Raises:
            PermissionDenied: when no person endorses, or one who may not use the tool.
            InvalidInput: when the argument does not decide where the effect goes.
        """
        _check_endorsement(tool, selector, value, by=by, surface=surface)
        query = (
            insert(EndorsementRow)
            .values(
                id=f"end_{uuid4().hex[:20]}",
                principal_id=principal_id,
                session_id=session_id,
                tool=tool.name,
                selector=selector,
                value=value,
                endorsed_by=by.name,
                endorsed_where=surface.value,
                expires_at=func.clock_timestamp() + timedelta(minutes=minutes),
            )
            .returning(EndorsementRow)
        )
        async with self._db.session() as session:
            row = (await session.execute(query)).scalar_one()
            return Endorsement.model_validate(row, from_attributes=True)

    async def take(
        self, statements: Statements, uses: Uses, principal_id: str, call_id: str
    ) -> None:
        """Use up what a call rests on, in the transaction that begins it.

        Raises:
            Conflict: when another call was quicker and this one may not run without it.
        """
        call = {"principal": principal_id, "call": call_id}
        taken = True
        if uses.step:
            taken = await statements.scalar(_TAKE_STEP, {"id": uses.step, **call}) is not None
        for endorsement in uses.endorsements:
            found = await statements.scalar(_TAKE_ENDORSEMENT, {"id": endorsement, **call})
            taken = taken and found is not None
        if uses.needed and not taken:
            raise Conflict(
                "What a person had settled was used by another call.", hint="Ask for it anew."
            )

    async def prune(self) -> None:
        """Forget what was used or has expired long ago."""
        async with self._db.session() as session:
            await session.execute(_PRUNE, {"days": _KEPT_DAYS})
