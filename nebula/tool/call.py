"""One call on its way through the executor, and how its end is put on record."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from nebula.auth.principal import Caller
from nebula.errors import ApprovalRequired, Conflict, NebulaError, OutcomeUnknown, WaitsFor
from nebula.policy.ask import Uses
from nebula.secrets.references import Versions
from nebula.tool.approval import Approval
from nebula.tool.definition import AnyTool, EffectKind
from nebula.tool.envelope import shown_arguments
from nebula.tool.ledger import CallKey


@dataclass
class Call:
    """A call; what is known of it so far."""

    name: str
    caller: Caller
    call_id: str
    tool: AnyTool | None = None
    values: BaseModel | None = None
    secrets: Versions = field(default_factory=dict)
    """The versions of the secrets that the arguments refer to."""
    key: CallKey | None = None
    """Set from the moment the call is on record as running."""
    uses: Uses = field(default_factory=Uses)
    """What it takes up when it begins."""
    cost: Decimal = Decimal(0)
    approval: Approval | None = None
    """The answer it runs on, where a person was asked."""
    grant_id: str | None = None
    """The standing grant it runs on, where that made asking unnecessary."""
    as_job: bool = False
    priority: int = 0
    recorded: bool = False
    """The call's end and its audit line are written already."""


def broken_off(call: Call) -> NebulaError:
    """Return what is told of a call that was cancelled in the middle."""
    if call.tool is not None and call.tool.kind is EffectKind.OPAQUE:
        return OutcomeUnknown(f"{call.name} was cancelled in the middle.")
    return Conflict(f"{call.name} was cancelled.")


def state_of(outcome: str, error: NebulaError | None) -> str:
    """Return the ledger's word for an outcome."""
    if outcome == "ok":
        return "succeeded"
    if isinstance(error, ApprovalRequired | WaitsFor):
        return "waiting"
    return "unknown" if isinstance(error, OutcomeUnknown) else "failed"


def audit_line(call: Call, outcome: str, error: dict[str, object] | None) -> dict[str, Any]:
    """Return the audit log's line about a call."""
    detail: dict[str, Any] = {} if error is None else {"error": error}
    if call.values is not None:
        detail["arguments"] = shown_arguments(call.values)
    if call.caller.agent:
        detail["agent"] = call.caller.agent
    if call.approval is not None:
        detail["approval"] = call.approval.id
    if call.grant_id is not None:
        detail["grant"] = call.grant_id
    return {
        "principal": call.caller.principal.name,
        "surface": call.caller.surface.value,
        "tool": call.name[:200],
        "call_id": call.call_id[:200],
        "session_id": call.caller.session_id,
        "outcome": outcome,
        "detail": detail,
    }
