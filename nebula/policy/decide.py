"""The one pure decision about a call: may it run, must a person say so, or never.

Every door asks here with the same facts and gets the same answer. No model takes part. Each rule
speaks for itself, the strictest word holds, and what no rule speaks for is denied.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from nebula.auth.principal import Principal, Surface
from nebula.auth.rights import rights_of
from nebula.policy.ask import STRICTNESS, Ask, Decision, Level, Uses, Verdict
from nebula.policy.labels import leaks, tainted
from nebula.policy.rules import Rules, named
from nebula.policy.selectors import TRUSTED, Origin
from nebula.policy.settled import endorsed, step_of
from nebula.tool.definition import AnyTool, Audience, Effect

Rule = Callable[[Ask, Rules], Decision | None]

ASKS_AGAIN = frozenset({"tool-asks", "operator"})
"""Rules whose question a standing grant may answer beforehand."""


def decide(ask: Ask, rules: Rules) -> Decision:
    """Decide about a call at this moment."""
    decision = _strictest(ask, rules, (*_STANDING, *_PRESENT))
    return replace(decision, origins=ask.origins, uses=_uses(ask))


def standing(ask: Ask, rules: Rules) -> Decision:
    """Decide from the declaration, the caller and the rules alone: what is offered to whom."""
    return _strictest(ask, rules, _STANDING)


def level_of(tool: AnyTool, rules: Rules) -> Level:
    """Return how much a decision about a tool weighs."""
    if tool.critical or named(rules.critical, tool):
        return Level.CRITICAL
    return Level.DESTRUCTIVE if tool.effect is Effect.DESTRUCTIVE else Level.NORMAL


def _strictest(ask: Ask, rules: Rules, asked: Iterable[Rule]) -> Decision:
    found = [said for rule in asked if (said := rule(ask, rules)) is not None]
    if not found:
        return Decision(Verdict.BLOCK, "undeclared", "No rule speaks for it.")
    # Of equally strict rules the first one explains best.
    strictest = max(found, key=lambda said: STRICTNESS[said.verdict])
    return replace(strictest, level=level_of(ask.tool, rules))


def _permission(ask: Ask, _rules: Rules) -> Decision | None:
    principal, surface = ask.caller.principal, ask.caller.surface
    if rights_of(principal, surface).can(ask.tool.permission):
        return None
    if principal.can(ask.tool.permission):
        return _block("surface", f"Nobody may use {ask.tool.name} through {surface.value}.")
    return _block("permission", _lacking(ask.tool, principal))


def _lacking(tool: AnyTool, principal: Principal) -> str:
    """Say which permission is missing; and that it is for here only, where the person has it."""
    needs = f"{tool.name} needs the permission {tool.permission}"
    if principal.frozen is None or principal.frozen.can(tool.permission):
        return f"{needs}."
    if all(pattern.endswith(":read") for pattern in principal.frozen.allowed):
        return f"Jarvis only looks here: {needs}."
    return f"{needs}, which is left out here."


def _human_only(ask: Ask, _rules: Rules) -> Decision | None:
    if ask.tool.audience is not Audience.HUMAN:
        return None
    if ask.typed:
        return None
    return _block("human-only", f"Only a person may use {ask.tool.name}.")


def _surface(ask: Ask, rules: Rules) -> Decision | None:
    rule = rules.surfaces.get(ask.caller.surface)
    if rule is None or rule.allows(ask.tool):
        return None
    where = ask.caller.surface.value
    return _block("surface", f"The operator does not allow {ask.tool.name} through {where}.")


def _operator(ask: Ask, rules: Rules) -> Decision | None:
    match rules.of(ask.tool):
        case "block":
            return _block("operator", f"The operator has switched off {ask.tool.name}.")
        case "confirm":
            return _wait(ask, "operator", "The operator wants a person to confirm it every time.")
        case _:
            return None


def _by_effect(ask: Ask, _rules: Rules) -> Decision | None:
    match ask.tool.effect:
        case Effect.READ:
            return Decision(Verdict.ALLOW, "read", "It only looks.")
        case Effect.WRITE:
            return Decision(Verdict.ALLOW, "write", "It can be undone.")
        case Effect.DESTRUCTIVE:
            reason = "It cannot be undone, or is seen outside."
            return _wait(ask, "destructive", reason)


def _outside_text(ask: Ask, _rules: Rules) -> Decision | None:
    """Text from outside may not command; what was settled before it was read may go on."""
    if not _must_be_settled(ask) or _step(ask) or endorsed(ask.tool, ask.origins):
        return None
    reason = "This conversation has read text from outside, which may not command."
    return _wait(ask, "outside-text", reason)


def _egress(ask: Ask, _rules: Rules) -> Decision | None:
    """To ask a place for something is to tell it something; looking is no exception."""
    if ask.typed or not leaks(ask.caller.labels):
        return None
    unnamed = [name for name in ask.tool.egress if ask.origins.get(name) not in TRUSTED]
    if not unnamed:
        return None
    places = ", ".join(str(ask.arguments.get(name, name))[:200] for name in unnamed)
    reason = (
        f"It would contact {places}, which you did not name; this conversation has read text from "
        "outside, and holds what not everybody may read."
    )
    return _wait(ask, "egress", reason)


def _must_be_settled(ask: Ask) -> bool:
    return ask.tool.effect is not Effect.READ and tainted(ask.caller.labels) and not ask.typed


def _step(ask: Ask) -> str:
    if ask.typed or not ask.plan.steps:
        return ""
    step = step_of(ask.tool, ask.arguments, ask.origins, ask.plan, ask.names, spent=ask.spent)
    return "" if step is None else step.id


def _uses(ask: Ask) -> Uses:
    """Say what the call takes up; a step that runs before anything was read is used up too."""
    if ask.tool.effect is Effect.READ:
        return Uses()
    step = _step(ask)
    rests = (name for name, origin in ask.origins.items() if origin is Origin.ENDORSED)
    found = tuple(ask.endorsements[name] for name in rests if name in ask.endorsements)
    needed = _must_be_settled(ask) and bool(step or found)
    return Uses(step, found, needed=needed) if step or found else Uses()


def _tool_asks(ask: Ask, _rules: Rules) -> Decision | None:
    if not ask.tool.confirm:
        return None
    return _wait(ask, "tool-asks", "The tool asks a person every time.")


def _paused(ask: Ask, _rules: Rules) -> Decision | None:
    if not ask.paused or ask.tool.effect is Effect.READ or ask.tool.while_paused:
        return None
    return _block("paused", f"Everything that changes something is paused: {ask.paused}")


def _quiet_hours(ask: Ask, rules: Rules) -> Decision | None:
    for quiet in rules.quiet_hours:
        if quiet.now(ask.tool, ask.now):
            reason = (
                f"These are quiet hours ({quiet.start:%H:%M} to {quiet.end:%H:%M} {quiet.zone})."
            )
            if quiet.then == "block":
                return _block("quiet-hours", reason)
            return _wait(ask, "quiet-hours", reason)
    return None


def _limits(ask: Ask, rules: Rules) -> Decision | None:
    if ask.tool.effect is Effect.READ:
        return None
    for limit in rules.limits_of(ask.tool):
        if limit.per_day is not None and ask.used.calls.get(limit.name, 0) >= limit.per_day:
            return _block("limit", f"{limit.name}: {limit.per_day} a day are used up.")
        spent = ask.used.money.get(limit.name, 0)
        if limit.money_per_day is not None and spent + ask.cost > limit.money_per_day:
            said = f"{limit.name}: {spent} of {limit.money_per_day} a day are spent"
            return _block("limit", f"{said}, and this costs {ask.cost}.")
    return None


def covered(ask: Ask, decision: Decision) -> Decision:
    """Answer a question by a standing grant, where one covers the call and may.

    Never for what cannot be undone, and never while text from outside is in the conversation.
    """
    if decision.verdict not in {Verdict.CONFIRM, Verdict.PROPOSE}:
        return decision
    if decision.rule not in ASKS_AGAIN or decision.level is not Level.NORMAL:
        return decision
    if ask.tool.effect is not Effect.WRITE or tainted(ask.caller.labels):
        return decision
    for grant in ask.grants:
        if grant.covers(ask.tool.name, ask.arguments, ask.caller.principal.id, ask.now):
            reason = f"A standing grant allows it until {grant.expires_at:%Y-%m-%d %H:%M}."
            return replace(
                decision, verdict=Verdict.ALLOW, rule="grant", reason=reason, grant_id=grant.id
            )
    return decision


def _wait(ask: Ask, rule: str, reason: str) -> Decision:
    waits = Verdict.PROPOSE if ask.caller.surface is Surface.SCHEDULE else Verdict.CONFIRM
    return Decision(waits, rule, reason)


def _block(rule: str, reason: str) -> Decision:
    return Decision(Verdict.BLOCK, rule, reason)


_STANDING: tuple[Rule, ...] = (
    _permission,
    _human_only,
    _surface,
    _by_effect,
    _egress,
    _outside_text,
    _tool_asks,
    _operator,
)
_PRESENT: tuple[Rule, ...] = (_paused, _quiet_hours, _limits)
