"""Whether a call was settled before anything from outside was read. Pure."""

from collections.abc import Collection, Mapping
from typing import Any

from nebula.policy.names import Names
from nebula.policy.origins import origin_of, same
from nebula.policy.plan import Plan, Step
from nebula.policy.selectors import TRUSTED, Kind, Origin
from nebula.policy.words import Said
from nebula.tool.definition import AnyTool


def origins_of(
    tool: AnyTool, arguments: Mapping[str, Any], said: Said, plan: Plan, names: Names
) -> dict[str, Origin]:
    """Return where each value that decides about a call comes from."""
    found: dict[str, Origin] = {}
    sentences = _sentences(plan, tool.name)
    for name, kind in tool.places.items():
        value, parameter = arguments.get(name), tool.input_model.model_fields[name]
        if not parameter.is_required() and _equal(value, parameter.get_default()):
            found[name] = Origin.DEFAULT
        elif any(name in fixed and same(kind, fixed[name], value, names) for fixed in sentences):
            found[name] = Origin.WORDS
        else:
            found[name] = origin_of(value, kind, said, names, parameter=name)
    return found


def step_of(
    tool: AnyTool,
    arguments: Mapping[str, Any],
    origins: Mapping[str, Origin],
    plan: Plan,
    names: Names,
    *,
    spent: Collection[str] = (),
) -> Step | None:
    """Return the step that a call is, when one is left: tool and every value as it was fixed.

    A value must come from where the person can vouch for it. One that was left open must be left
    out, or a person has endorsed it since.
    """

    def fixed(step: Step, name: str, kind: Kind) -> bool:
        origin = origins.get(name, Origin.UNKNOWN)
        if name not in step.selectors:
            return origin in {Origin.DEFAULT, Origin.ENDORSED}
        return origin in TRUSTED and same(kind, step.selectors[name], arguments.get(name), names)

    left = (step for step in plan.of(tool.name) if step.id not in spent)
    return next(
        (step for step in left if all(fixed(step, *each) for each in tool.selectors.items())), None
    )


def endorsed(tool: AnyTool, origins: Mapping[str, Origin]) -> bool:
    """Say whether a person vouched for every value that was not left out, for this very tool."""
    given = [origins.get(name, Origin.UNKNOWN) for name in tool.selectors]
    return Origin.ENDORSED in given and set(given) <= {Origin.ENDORSED, Origin.DEFAULT}


def _sentences(plan: Plan, tool: str) -> list[Mapping[str, Any]]:
    """Return the values that the person's own sentences fixed for a tool."""
    return [step.selectors for step in plan.of(tool) if step.by_words]


def _equal(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)
