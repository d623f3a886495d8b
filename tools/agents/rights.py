"""What an agent may do: frozen when it is made, and never more than its owner may."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from nebula.auth.grant import Grant, of_features
from nebula.auth.principal import Caller, Principal, Role, Surface
from nebula.errors import InvalidInput, PermissionDenied
from nebula.policy.ask import Verdict
from nebula.tool.definition import AnyTool, Audience
from tools.agents.models import AgentRow
from tools.agents.spec import near

if TYPE_CHECKING:
    from nebula.app import Parts

_OWN = "agents"
_REPORTS = Grant(frozenset({"notify:write"}))


class Frozen(BaseModel, frozen=True):
    """The rights of an agent, as its row keeps them."""

    allowed: tuple[str, ...]
    denied: tuple[str, ...]
    reports: bool
    """Whether its owner could send messages; reports are sent with that right alone."""
    key_id: str | None = None


def frozen_of(owner: Principal, features: Iterable[str], tools: Sequence[AnyTool]) -> Frozen:
    """Return the owner's rights cut down to some features, and to what some tools need."""
    wanted = of_features(features).allowed | {tool.permission for tool in tools}
    own = Grant(owner.permissions, owner.denied)
    both = own.narrowed(Grant(wanted))
    return Frozen(
        allowed=tuple(sorted(both.allowed)),
        denied=tuple(sorted(both.denied)),
        reports=own.can("notify:write"),
        key_id=owner.key_id,
    )


def acting(agent: AgentRow) -> Principal:
    """Return who an agent is: its owner with its limits, and no right until rows are read."""
    kept = Frozen.model_validate(agent.rights)
    return _limited(agent, kept, Grant(frozenset(kept.allowed), frozenset(kept.denied)))


def reporting(agent: AgentRow) -> Principal:
    """Return who sends an agent's reports: its owner with the right to send, and no other."""
    kept = Frozen.model_validate(agent.rights)
    return _limited(agent, kept, _REPORTS if kept.reports else Grant(frozenset()))


def watching(agent: AgentRow) -> Principal:
    """Return who an agent's trigger listens for: its owner, for seeing events and nothing else."""
    kept = Frozen.model_validate(agent.rights)
    return _limited(agent, kept, Grant(frozenset({"events:admin"})))


def _limited(agent: AgentRow, kept: Frozen, grant: Grant) -> Principal:
    return Principal(
        id=agent.owner_id,
        name=agent.owner_name,
        role=Role.CLIENT,
        permissions=frozenset(),
        key_id=kept.key_id,
        frozen=grant,
    )


def checked(
    parts: "Parts", owner: Principal, features: Sequence[str], tools: Sequence[str]
) -> Frozen:
    """Return the rights of an agent of these features and tools.

    Raises:
        InvalidInput: when nothing is named, or something that does not exist or is not for agents.
        PermissionDenied: when its owner may not use it by themselves, unattended.
    """
    if not features and not tools:
        raise InvalidInput(
            "Say which features or tools it may use",
            hint=near("", _features_of(parts)),
        )
    named = [_tool(parts, owner, name) for name in tools]
    for feature in features:
        _check_feature(parts, owner, feature)
    return frozen_of(owner, features, named)


def _features_of(parts: "Parts") -> set[str]:
    return {tool.feature for tool in parts.registry} - {_OWN}


def _check_feature(parts: "Parts", owner: Principal, feature: str) -> None:
    known = _features_of(parts)
    if feature == _OWN:
        raise InvalidInput("An agent does not make or change agents")
    if feature not in known:
        raise InvalidInput(f"There is no feature {feature!r}", hint=near(feature, known))
    mine = (tool for tool in parts.registry if tool.feature == feature)
    if not any(_why_not(parts, owner, tool) == "" for tool in mine):
        raise PermissionDenied(f"You may use nothing of {feature} by a schedule.")


def _tool(parts: "Parts", owner: Principal, name: str) -> AnyTool:
    if name not in parts.registry:
        known = [tool.name for tool in parts.registry]
        close = get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(close)}?" if close else "List the tools to see them."
        raise InvalidInput(f"There is no tool {name!r}", hint=hint)
    tool = parts.registry.get(name)
    if tool.feature == _OWN:
        raise InvalidInput("An agent does not make or change agents")
    if why := _why_not(parts, owner, tool):
        raise PermissionDenied(why)
    return tool


def _why_not(parts: "Parts", owner: Principal, tool: AnyTool) -> str:
    if tool.audience is Audience.HUMAN:
        return f"Only a person may use {tool.name}, no agent."
    decision = parts.judge.standing(tool, Caller(owner, Surface.SCHEDULE))
    return decision.reason if decision.verdict is Verdict.BLOCK else ""


def of_row(rights: dict[str, Any]) -> list[str]:
    """Return what a row's rights allow, for people."""
    kept = Frozen.model_validate(rights)
    grant = Grant(frozenset(kept.allowed), frozenset(kept.denied))
    return [pattern for pattern in kept.allowed if grant.can(pattern) or pattern.endswith(":*")]
