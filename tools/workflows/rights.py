"""What a workflow may do: its owner's rights when it was saved, cut down to its tools."""

from typing import TYPE_CHECKING

from nebula.auth.frozen import Frozen, frozen_of
from nebula.auth.grant import Grant
from nebula.auth.principal import Caller, Principal, Surface
from nebula.policy.ask import Verdict
from nebula.tool.definition import AnyTool, Audience
from tools.workflows.spec import Spec

if TYPE_CHECKING:
    from nebula.app import Parts

_ASKING = "workflows:write"
_OWN = frozenset({"workflows", "agents"})


def why_not(parts: "Parts", owner: Principal, tool: AnyTool) -> str:
    """Say why a workflow of this owner cannot use a tool; empty when it can."""
    if tool.feature in _OWN:
        return f"a workflow neither makes nor starts workflows or agents ({tool.name})"
    if tool.audience is Audience.HUMAN:
        return f"only a person may use {tool.name}, no workflow"
    decision = parts.judge.standing(tool, Caller(owner, Surface.SCHEDULE))
    return decision.reason if decision.verdict is Verdict.BLOCK else ""


def frozen_for(parts: "Parts", owner: Principal, spec: Spec) -> Frozen:
    """Return the rights that a workflow keeps; what its tools do not need is not among them."""
    names = {step.tool for _, step in spec.every_step() if step.tool is not None}
    needed = {parts.registry.get(name).permission for name in names if name in parts.registry}
    return frozen_of(owner, Grant(frozenset(needed | {_ASKING})))
