"""Puts a call before a person, and finds the answer that covers exactly this call."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from nebula.auth.principal import Caller
from nebula.errors import ApprovalRequired, Conflict, PermissionDenied
from nebula.policy.ask import Decision
from nebula.secrets.references import Versions
from nebula.tool.approval import Approval
from nebula.tool.definition import AnyTool
from nebula.tool.envelope import envelope, envelope_sha256
from nebula.tool.evidence import evidence, versions

if TYPE_CHECKING:
    from nebula.app import Parts

_NAMES = {
    "sealed": "a secret",
    "secrets": "a stored secret",
    "schema": "the tool",
    "principal": "who asks",
    "key": "the key it came with",
    "resources": "what it would change",
}


@dataclass(frozen=True)
class Request:
    """A call that a person is asked about."""

    tool: AnyTool
    values: BaseModel
    caller: Caller
    call_id: str
    decision: Decision
    secrets: Versions
    """The versions behind its secret references."""


class Asking:
    """Asks people about calls."""

    def __init__(self, parts: "Parts") -> None:
        """Take the parts that a question rests on."""
        self._parts = parts

    async def ask(self, request: Request) -> Approval:
        """Return the question about a call, asked now if it was not before.

        Raises:
            PermissionDenied: when the question that this call id has is about another call.
            NebulaError: when what the call would change cannot be seen.
        """
        tool, caller = request.tool, request.caller
        found = await versions(self._parts, tool, request.values, caller)
        body = envelope(
            tool,
            request.values,
            caller,
            request.call_id,
            policy=self._parts.judge.version,
            secrets=request.secrets,
            resources=found,
        )
        approval = await self._parts.approvals.of_call(caller.principal.id, request.call_id)
        if approval is None:
            approval = await self._asked(request, body)
        if approval.sha256 != envelope_sha256(body):
            changed = ", ".join(_NAMES.get(n, n) for n in approval.differs_from(body)) or "the row"
            raise PermissionDenied(
                f"The call is not the one that was put before a person (changed: {changed}).",
                hint="Ask for it anew; a changed call needs its own approval.",
            )
        return approval

    async def answered(self, request: Request) -> Approval:
        """Return the approval to use up; else raise what stands between.

        Raises:
            ApprovalRequired: while nobody has decided.
            PermissionDenied: when it was denied, or is about another call.
            Conflict: when it was used, has expired, or changes were asked for.
        """
        approval = await self.ask(request)
        match approval.state:
            case "approved":
                await self._parts.approvals.check_approver(approval)
                return approval
            case "pending":
                said = f"{request.tool.name}: {request.decision.reason}"
                raise ApprovalRequired(approval.id, said)
            case "denied":
                raise PermissionDenied(_said(approval, "denied this"))
            case "changes_requested":
                hint = "Change the call as asked and make it anew; that is a question of its own."
                raise Conflict(_said(approval, "asks for changes"), hint=hint)
            case "withdrawn":
                raise Conflict(f"Nobody needs this any more: {approval.comment}")
            case _:
                raise Conflict(f"The approval has {_past(approval.state)}.", hint="Ask anew.")

    async def _asked(self, request: Request, body: dict[str, Any]) -> Approval:
        parts = self._parts
        tool, values, caller = request.tool, request.values, request.caller
        return await parts.approvals.ask(
            tool,
            body,
            caller,
            request.call_id,
            decision=request.decision,
            evidence=await evidence(parts, tool, values, caller, request.decision),
            four_eyes=parts.judge.rules.four_eyes,
        )


def _said(approval: Approval, verb: str) -> str:
    comment = f": {approval.comment}" if approval.comment else "."
    return f"{approval.decided_by} {verb}{comment}"


def _past(state: str) -> str:
    return "been used" if state == "used" else state
