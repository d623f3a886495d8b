"""The one pure decision about a call: may it run, must a person say so, or never.

Every door asks here with the same facts and gets the same answer. No model takes part.
"""

from dataclasses import dataclass
from enum import StrEnum

from nebula.auth.principal import Caller, Surface
from nebula.policy.labels import tainted
from nebula.tool.definition import AnyTool, Audience, Effect

POLICY_VERSION = "1"


class Verdict(StrEnum):
    """What the policy says of a call."""

    ALLOW = "allow"
    CONFIRM = "confirm"
    PROPOSE = "propose"
    BLOCK = "block"


@dataclass(frozen=True)
class Decision:
    """A verdict, the name of the rule that gave it, and the reason a person reads."""

    verdict: Verdict
    rule: str
    reason: str


def decide(tool: AnyTool, caller: Caller) -> Decision:
    """Decide about a call from its declaration and its caller alone; the strictest rule wins."""
    if not caller.principal.can(tool.permission):
        return Decision(
            Verdict.BLOCK, "permission", f"{tool.name} needs the permission {tool.permission}."
        )
    if tool.audience is Audience.HUMAN and (caller.by_model or caller.surface is Surface.MCP):
        return Decision(Verdict.BLOCK, "human-only", f"Only a person may use {tool.name}.")
    if tool.effect is Effect.READ:
        return Decision(Verdict.ALLOW, "read", "It only looks.")
    return _effects(tool, caller)


def _effects(tool: AnyTool, caller: Caller) -> Decision:
    waits = Verdict.PROPOSE if caller.surface is Surface.SCHEDULE else Verdict.CONFIRM
    if tool.effect is Effect.DESTRUCTIVE:
        reason = "It cannot be undone, or is seen outside."
        return Decision(waits, "destructive", reason)
    if tainted(caller.labels):
        reason = "This conversation has read text from outside, which may not command."
        return Decision(waits, "outside-text", reason)
    if tool.confirm:
        return Decision(waits, "tool-asks", "The tool asks a person every time.")
    return Decision(Verdict.ALLOW, "write", "It can be undone.")
