"""A question to a person as every door sees it."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from nebula.auth.principal import Principal, Surface
from nebula.events.event import Event
from nebula.policy.answering import FourEyes, Question
from nebula.policy.ask import Level
from nebula.policy.labels import Label
from nebula.tool.evidence import Evidence
from nebula.tool.models import ApprovalRow

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from nebula.events.bus import Events

STREAM = "approvals"
"""Where questions, answers, and offers of standing grants are announced."""
_TOLD = {
    *("id", "tool", "permission", "state", "session_id", "call_id", "principal_id"),
    *("decided_by", "decided_where"),
}
_PEOPLE = {surface.value for surface in Surface} - {"mcp", "schedule", "system"}


class Approval(BaseModel):
    """A question to a person about one exact call."""

    id: str
    tool: str
    permission: str
    arguments: dict[str, Any]
    effect: str
    level: Level
    rule: str
    reason: str
    principal_name: str
    principal_id: str
    surface: str
    session_id: str | None
    call_id: str
    agent: str = ""
    """The sub-agent that wants it, where one does."""
    by_model: bool = True
    """A model chose the call; otherwise a person typed or clicked it."""
    labels: list[str] = []
    """Where the text came from that whoever chose the call had read."""
    resources: dict[str, str] = {}
    """What the call would change, each with the version that the approval holds for."""
    evidence: Evidence = Evidence()
    state: str
    created_at: datetime
    expires_at: datetime
    decided_by: str | None
    decided_where: str | None
    comment: str
    four_eyes: FourEyes
    sha256: str
    decided_by_id: str | None = Field(exclude=True)
    envelope: dict[str, Any] = Field(exclude=True)

    @property
    def tainted(self) -> bool:
        """Say whether text from outside may have had a hand in the request."""
        typed = not self.by_model and self.surface in _PEOPLE
        return Label.OUTSIDE.value in self.labels and not typed

    @property
    def question(self) -> Question:
        """Return what decides who may answer."""
        return Question(
            self.permission, self.level, self.principal_id, self.tainted, self.four_eyes
        )

    def differs_from(self, body: dict[str, Any]) -> list[str]:
        """Name the parts in which another call is not this one."""
        names = sorted({*self.envelope, *body})
        return [name for name in names if self.envelope.get(name) != body.get(name)]

    def visible_to(self, principal: Principal) -> bool:
        """Say whether somebody may see it: who asked, and who may decide."""
        return self.principal_id == principal.id or principal.can(self.permission)


def concerns(event: Event, principal: Principal) -> bool:
    """Say whether somebody may see what an event is about: who asked, and who may decide."""
    permission = str(event.data.get("permission", ""))
    return event.owner == principal.id or (bool(permission) and principal.can(permission))


def shown(row: ApprovalRow) -> Approval:
    """Return a row as the doors see it."""
    body = row.envelope
    apart = {"arguments", "agent", "by_model", "labels", "resources"}
    fields = {name: getattr(row, name) for name in Approval.model_fields if name not in apart}
    return Approval(
        arguments=body["arguments"],
        agent=body.get("agent", ""),
        by_model=body.get("by_model", True),
        labels=body["labels"],
        resources=body.get("resources", {}),
        **fields,
    )


async def announce(
    events: "Events", kind: str, approval: Approval, session: "AsyncSession"
) -> None:
    """Tell in the same transaction how a question stands."""
    data = approval.model_dump(mode="json", include=_TOLD)
    await events.publish(STREAM, kind, data, owner=approval.principal_id, session=session)
