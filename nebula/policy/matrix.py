"""The policy written out: for every tool, what it says to each role, at each door, with each label.

Made from `standing` for review: a change of a rule or of a declaration shows as a changed cell.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from nebula.auth.principal import Caller, Principal, Role, Surface
from nebula.auth.roles import ROLES
from nebula.policy.ask import Ask, Decision, Verdict
from nebula.policy.decide import standing
from nebula.policy.labels import Label
from nebula.policy.rules import Rules
from nebula.tool.definition import AnyTool

LETTERS = {Verdict.ALLOW: "A", Verdict.CONFIRM: "C", Verdict.PROPOSE: "P", Verdict.BLOCK: "·"}
CASES: Mapping[str, tuple[bool, frozenset[Label]]] = {
    "a person": (False, frozenset({Label.USER})),
    "a model": (True, frozenset({Label.USER})),
    "a model after outside text": (True, frozenset({Label.USER, Label.OUTSIDE})),
}
"""Who chose the call, and what they had read: the letters of a cell stand in this order."""


def answer(tool: AnyTool, role: Role, surface: Surface, case: str, rules: Rules) -> Decision:
    """Return what the policy says to somebody with a role, at a door, in one of the cases."""
    grant = ROLES[role]
    principal = Principal(role.value, role.value, role, grant.allowed, denied=grant.denied)
    by_model, labels = CASES[case]
    return standing(Ask(tool, Caller(principal, surface, labels=labels, by_model=by_model)), rules)


def cell(tool: AnyTool, role: Role, surface: Surface, rules: Rules) -> str:
    """Return one letter for each case, such as AAC."""
    return "".join(LETTERS[answer(tool, role, surface, case, rules).verdict] for case in CASES)


def row(tool: AnyTool, role: Role, rules: Rules) -> str:
    """Return what a role meets at every door; doors that answer alike stand together."""
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for surface in Surface:
        alike[cell(tool, role, surface, rules)].append(surface.value)
    most = max(alike, key=lambda letters: len(alike[letters]))
    others = sorted(
        f"{'+'.join(doors)} {letters}" for letters, doors in alike.items() if letters != most
    )
    return ", ".join([most, *others])


def matrix(tools: Iterable[AnyTool], rules: Rules) -> list[list[str]]:
    """Return a row for each tool: its name, its effect, and a cell for each role."""
    return [
        [tool.name, tool.effect.value, *(row(tool, role, rules) for role in Role)] for tool in tools
    ]
