"""Whatever is read, said and called, in any order: no effect that a model chose after it had read
text from outside runs unasked, unless tool and values were settled before.

The world below is a conversation in small: the real rules and the real matching of values and
steps, with the bookkeeping that a thread and the ledger do around them. Two bugs are planted to
see that they would be found.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from nebula.policy import origins as origins_module
from nebula.policy.ask import Ask, Verdict
from nebula.policy.decide import decide
from nebula.policy.labels import Label
from nebula.policy.names import Name, Names
from nebula.policy.plan import Plan, Step
from nebula.policy.rules import Rules
from nebula.policy.selectors import Kind
from nebula.policy.settled import origins_of
from nebula.policy.words import said
from tests.nebula.tool.samples import sample_stall, sample_write
from tests.people import caller

TOOLS = {tool.name: tool for tool in (sample_write, sample_stall)}
VALUES = ("lamp", "lamps", "door lamp", "door", "Lamp", "l\u0430mp", "")
NAMES = Names.of([Name(Kind.NODE, "door", "door")])
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)

Happening = list[tuple[str, Any]]


def happening(values: tuple[str, ...], tools: tuple[str, ...]) -> dict[str, Any]:
    """Make each thing that can happen out of these values and tools."""
    value = st.sampled_from(values)
    call = st.tuples(st.sampled_from(tools), value)
    made: dict[str, st.SearchStrategy[Any]] = {
        "says": st.lists(value, max_size=2),
        "commands": call,
        "forbids": value,
        "plans": st.lists(call, max_size=3),
        "reads": st.booleans(),
        "calls": call,
        "summarises": st.none(),
    }
    return {name: st.tuples(st.just(name), each) for name, each in made.items()}


ANYTHING = st.lists(st.one_of(*happening(VALUES, tuple(TOOLS)).values()), max_size=12)
FEW = happening(("lamp", "lamps"), ("sample_write",))
IN_ORDER = st.tuples(*(FEW[name] for name in ("says", "plans", "reads", "summarises", "calls")))


@dataclass
class Talk:
    """A conversation, and what a careful onlooker writes down beside it."""

    labels: frozenset[Label] = frozenset({Label.USER})
    words: tuple[str, ...] = ()
    plan: Plan = field(default_factory=Plan)
    spent: set[str] = field(default_factory=set)
    settled: list[tuple[str, str]] = field(default_factory=list)
    """Written down by the onlooker: what was settled, and is still to happen."""
    read: bool = False
    """Written down by the onlooker: whether text from outside was read."""
    keep: Callable[[frozenset[Label]], frozenset[Label]] = lambda labels: labels
    count: int = 0

    def take(self, kind: str, what: Any) -> None:
        getattr(self, kind)(what)

    def says(self, what: list[str]) -> None:
        self.words += (" and ".join(what) or "hello",)
        self.plan, self.settled = Plan(), []

    def commands(self, what: tuple[str, str]) -> None:
        self.says([what[1]])
        self.plan = Plan((Step(what[0], {"name": what[1]}, self._id(), by_words=True),))
        self.settled = [what]

    def forbids(self, what: str) -> None:
        self.words += (f"do not use {what}",)
        self.plan, self.settled = Plan(), []

    def plans(self, what: list[tuple[str, str]]) -> None:
        if Label.OUTSIDE in self.labels:
            return
        taken = {step.tool for step in self.plan.steps if step.by_words}
        new = [each for each in what if each[0] not in taken]
        words = tuple(step for step in self.plan.steps if step.by_words)
        self.plan = Plan((*words, *(Step(n, {"name": v}, self._id()) for n, v in new)))
        ours = [(step.tool, step.selectors["name"]) for step in words if step.id not in self.spent]
        self.settled = [*ours, *new]

    def reads(self, outside: bool) -> None:
        if outside:
            self.labels, self.read = self.labels | {Label.OUTSIDE}, True

    def summarises(self, _: None) -> None:
        self.labels = self.keep(self.labels)

    def calls(self, what: tuple[str, str]) -> None:
        tool, arguments = TOOLS[what[0]], {"name": what[1]}
        ask = Ask(
            tool,
            caller(labels=self.labels, by_model=True),
            arguments,
            origins=origins_of(tool, arguments, said(self.words), self.plan, NAMES),
            plan=self.plan,
            spent=frozenset(self.spent),
            names=NAMES,
            now=NOW,
        )
        decision = decide(ask, Rules())
        if decision.verdict is not Verdict.ALLOW:
            return
        if decision.uses.step:
            self.spent.add(decision.uses.step)
        if self.read:
            assert any(_same(what, each) for each in self.settled), f"{what} was never settled"
            assert self._said(what[1]), f"nobody said {what[1]!r}"
        done = next((each for each in self.settled if _same(what, each)), None)
        if done is not None:
            self.settled.remove(done)

    def _said(self, value: str) -> bool:
        """Look for a value as an onlooker would, who knows nothing of how we do it."""
        if any(
            step.by_words and _same(("", value), ("", step.selectors["name"]))
            for step in self.plan.steps
        ):
            return True
        return any(
            f" {value.casefold()} " in f" {message.casefold()} "
            for message in self.words
            if not message.startswith("do not")
        )

    def _id(self) -> str:
        self.count += 1
        return f"s{self.count}"


def _same(one: tuple[str, str], other: tuple[str, str]) -> bool:
    return (one[0], one[1].casefold()) == (other[0], other[1].casefold())


def play(happens: Happening, talk: Talk) -> None:
    for kind, what in happens:
        talk.take(kind, what)


@given(ANYTHING)
@settings(max_examples=500, deadline=None)
def test_after_outside_text_only_what_was_settled_runs_unasked(happens: Happening) -> None:
    play(happens, Talk())


def _found(planted: Callable[[], Talk]) -> bool:
    """Say whether the property fails with a bug planted."""

    @given(IN_ORDER)
    @settings(max_examples=500, deadline=None, derandomize=True, phases=[Phase.generate])
    def check(happens: tuple[tuple[str, Any], ...]) -> None:
        play(list(happens), planted())

    try:
        check()
    except AssertionError:
        return True
    return False


def test_the_bugs_below_are_not_found_where_there_are_none() -> None:
    assert not _found(Talk)


def test_a_summary_that_drops_labels_would_be_found() -> None:
    assert _found(lambda: Talk(keep=lambda labels: labels - {Label.OUTSIDE}))


def test_a_match_of_parts_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def anywhere(run: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
        return " ".join(wanted) in " ".join(run)

    monkeypatch.setattr(origins_module, "holds", anywhere)
    assert _found(Talk)
