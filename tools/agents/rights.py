"""What an agent may do: frozen when it is made, and never more than its owner may."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from nebula.auth.frozen import Frozen, frozen_of
from nebula.auth.grant import Grant, of_features
from nebula.auth.principal import Caller, Principal, Surface
from nebula.errors import InvalidInput, PermissionDenied
from nebula.near import near
from nebula.policy.ask import Verdict
from nebula.tool.definition import AnyTool, Audience
from tools.agents.models import AgentRow
from tools.agents.spec import at_field

if TYPE_CHECKING:
    from nebula.app import Parts

_OWN = "agents"
_REPORTS = Grant(frozenset({"notify:write"}))


def acting(agent: AgentRow, within: dict[str, Any] | None = None) -> Principal:
    """Return who an agent is: its owner with its limits, and no right until rows are read.

    `within` are the rights of whoever asked for this run, as its row keeps them.
    """
    if within is None:
        return _limited(agent, None)
    own = Frozen.model_validate(agent.rights).grant
    return _limited(agent, own.narrowed(Frozen.model_validate(within).grant))


def reporting(agent: AgentRow) -> Principal:
    """Return who sends an agent's reports: its owner with the right to send, and no other."""
    kept = Frozen.model_validate(agent.rights)
    return _limited(agent, _REPORTS if kept.reports else Grant(frozenset()))


def watching(agent: AgentRow) -> Principal:
    """Return who an agent's trigger listens for: its owner, for seeing events and nothing else."""
    return _limited(agent, Grant(frozenset({"events:admin"})))


def _limited(agent: AgentRow, grant: Grant | None) -> Principal:
    kept = Frozen.model_validate(agent.rights)
    return kept.principal(agent.owner_id, agent.owner_name, grant)


def checked(
    parts: "Parts", owner: Principal, features: Sequence[str], tools: Sequence[str]
) -> Frozen:
    """Return the rights of an agent of these features and tools.

    Raises:
        InvalidInput: when nothing is named, or something that does not exist or is not for agents.
        PermissionDenied: when its owner may not use it by themselves, unattended.
    """
    if not features and not tools:
        said = "Say which features or tools it may use"
        raise at_field("features", said, near("", _features_of(parts)))
    named = [_tool(parts, owner, name) for name in tools]
    for feature in features:
        _check_feature(parts, owner, feature)
    wanted = of_features(features).allowed | {tool.permission for tool in named}
    return frozen_of(owner, Grant(wanted))


def _features_of(parts: "Parts") -> set[str]:
    return {tool.feature for tool in parts.registry} - {_OWN}


def _check_feature(parts: "Parts", owner: Principal, feature: str) -> None:
    known = _features_of(parts)
    if feature == _OWN:
        raise InvalidInput("An agent does not make or change agents")
    if feature not in known:
        raise at_field("features", f"There is no feature {feature!r}", near(feature, known))
    mine = (tool for tool in parts.registry if tool.feature == feature)
    if not any(_why_not(parts, owner, tool) == "" for tool in mine):
        raise PermissionDenied(f"You may use nothing of {feature} by a schedule.")


def _tool(parts: "Parts", owner: Principal, name: str) -> AnyTool:
    if name not in parts.registry:
        known = [tool.name for tool in parts.registry]
        close = get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(close)}?" if close else "List the tools to see them."
        raise at_field("tools", f"There is no tool {name!r}", hint)
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
    return [
        pattern for pattern in kept.allowed if kept.grant.can(pattern) or pattern.endswith(":*")
    ]
