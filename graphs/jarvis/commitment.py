"""Fixes the steps of a request before anything from outside is read.

Two things can fix a step: the person's own sentence, understood word for word and without a model,
and the plan that a model says while nothing from outside is in the conversation.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from graphs.jarvis.selection import is_question
from nebula.errors import NotFound
from nebula.llm.command.answers import Call
from nebula.llm.command.slots import slots_of
from nebula.policy.plan import MOST, Plan, Step
from nebula.policy.words import Clause, clauses
from nebula.tool.definition import AnyTool, Effect

Find = Callable[[str], Call | None]
Get = Callable[[str], AnyTool]

_CONDITION = re.compile(
    r"\b(?:if|unless|whether|when|whenever|until|in case|should|assuming|provided)\b", re.IGNORECASE
)
_LONGEST_VALUES = 2_000
"""Characters of one step's values, as JSON."""


def by_words(message: str, find: Find, get: Get, turn_id: str) -> Plan:
    """Return the steps that a message says in so many words.

    A sentence that asks, that sets a condition or that says what is not to be fixes nothing.
    """
    steps: list[Step] = []
    everything = clauses(message)
    if len(everything) < 2:
        return Plan()  # one command alone was understood as one already, or is none
    for sentence, parts in groupby(everything, lambda clause: clause.sentence):
        said = list(parts)
        if is_question(sentence) or _CONDITION.search(sentence):
            continue
        steps += _of_sentence(sentence, said, find, get, f"{turn_id}:{len(steps)}")
    return Plan(tuple(steps[:MOST]))


def by_model(said: Any, present: Plan, others: Iterable[str], get: Get, plan_id: str) -> Plan:
    """Return the plan with the steps that a model named, each with its tool and its values.

    `others` are the tools that the same answer calls already: those steps are under way.
    """
    words = tuple(step for step in present.steps if step.by_words)
    settled = {step.tool for step in words}
    under_way = list(others)
    steps: list[Step] = []
    for at, item in enumerate(said if isinstance(said, list) else []):
        step = _named(item, get, f"{plan_id}:{at}")
        if step is None or step.tool in settled:
            continue
        if step.tool in under_way:
            under_way.remove(step.tool)
            continue
        steps.append(step)
    return Plan(words).and_then(steps)


def _of_sentence(
    sentence: str, parts: Sequence[Clause], find: Find, get: Get, first_id: str
) -> Iterator[Step]:
    """Read a sentence whole, or clause by clause; two readings of one step are used up together."""
    whole = None if any(part.negated for part in parts) else find(sentence)
    if whole is not None:
        yield _step(whole, get, first_id)
    if len(parts) == 1:
        return
    for at, part in enumerate(parts):
        call = None if part.negated else find(part.text)
        if call is None or (whole is not None and call.name != whole.name):
            continue
        yield _step(call, get, first_id if whole is not None else f"{first_id}.{at}")


def _step(call: Call, get: Get, step_id: str) -> Step:
    return Step(call.name, _selected(get(call.name), call.arguments), step_id, by_words=True)


def _named(item: Any, get: Get, step_id: str) -> Step | None:
    """Return the step that a model named, unless it names no tool with an effect."""
    if not isinstance(item, Mapping) or not isinstance(item.get("tool"), str):
        return None
    try:
        tool = get(item["tool"])
    except NotFound:
        return None
    values = item.get("with")
    fixed = _selected(tool, values if isinstance(values, Mapping) else {})
    if tool.effect is Effect.READ or len(json.dumps(fixed, default=str)) > _LONGEST_VALUES:
        return None
    return Step(tool.name, fixed, step_id)


def _selected(tool: AnyTool, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides where the effect goes; one value stands for a list of one."""
    slots = slots_of(tool)
    return {
        name: [values[name]]
        if slots[name].kind == "list" and isinstance(values[name], str)
        else values[name]
        for name in tool.selectors
        if values.get(name) is not None
    }
