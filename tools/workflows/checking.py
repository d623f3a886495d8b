"""Checks a whole workflow before it is saved: names, order, and types against the tools."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from nebula.events.triggers import EVENTS
from nebula.near import near
from nebula.tool.definition import AnyTool, secrets_of
from nebula.tool.registry import Registry
from nebula.yaml_file import Document, Problem
from tools.workflows.expressions.checking import Scope, type_of
from tools.workflows.expressions.syntax import BadExpression, Node, parse
from tools.workflows.expressions.templates import found_in
from tools.workflows.expressions.types import (
    ANY,
    BOOLEAN,
    INTEGER,
    TEXT,
    Type,
    fits,
    from_schema,
    list_of,
    object_of,
    of_value,
)
from tools.workflows.spec import FINALLY, Input, Spec, Step, needs_of

Loc = tuple[str | int, ...]
WhyNot = Callable[[AnyTool], str]
"""Says why a tool may not be used; empty when it may."""

STATES = ("done", "failed", "skipped", "unknown")
_INPUTS: dict[str, Type] = {
    "text": TEXT,
    "integer": INTEGER,
    "number": Type("number"),
    "boolean": BOOLEAN,
    "list": Type("list"),
    "object": Type("object"),
}


def check(spec: Spec, document: Document, registry: Registry, why_not: WhyNot) -> list[Problem]:
    """Return every mistake of a workflow that has the right form."""
    return _Checker(spec, document, registry, why_not).all()


@dataclass
class _Place:
    """What is known where a step stands."""

    steps: Mapping[str, Type] = field(default_factory=dict)
    """The steps that have run at this point, by id."""
    roots: Mapping[str, Type] = field(default_factory=dict)

    def knowing(self, steps: Mapping[str, Type]) -> "_Place":
        return _Place({**self.steps, **steps}, self.roots)

    def also(self, **roots: Type) -> "_Place":
        return _Place(self.steps, {**self.roots, **roots})


class _Checker:
    def __init__(self, spec: Spec, document: Document, registry: Registry, why_not: WhyNot) -> None:
        self._spec = spec
        self._document = document
        self._registry = registry
        self._why_not = why_not
        self._ids = [step.id for _, step in spec.every_step()]
        self._problems: list[Problem] = []

    def all(self) -> list[Problem]:
        spec = self._spec
        self._inputs()
        for step_id in sorted({each for each in self._ids if self._ids.count(each) > 1}):
            self._say(("steps",), f"two steps are called {step_id!r}")
        if FINALLY.rstrip("/") in self._ids:
            self._say(("steps",), "no step is called 'finally': that names the last steps")
        place = _Place(roots=self._roots())
        ran = self._block(spec.steps, ("steps",), place, side_by_side=False)
        after = place.knowing(ran)
        ended = object_of({**(self._roots()["run"].fields or {}), "state": TEXT, "problem": TEXT})
        self._block(spec.finally_, ("finally",), after.also(run=ended), side_by_side=False)
        self._template(spec.output, ("output",), after)
        return self._problems

    def _roots(self) -> dict[str, Type]:
        spec = self._spec
        event = Type("object", item=ANY)
        if spec.trigger is not None and spec.trigger.event in EVENTS:
            event = object_of(dict.fromkeys(EVENTS[spec.trigger.event].fields, TEXT))
        return {
            "inputs": object_of({name: _input(each) for name, each in spec.inputs.items()}),
            "run": object_of({"id": TEXT, "started_at": TEXT, "workflow": TEXT}),
            "event": event,
        }

    def _inputs(self) -> None:
        for name, each in self._spec.inputs.items():
            wanted = _INPUTS[each.type]
            loc = ("inputs", name)
            if not name.isidentifier():
                self._say(loc, f"{name!r} is no name for an input; use letters, digits and _")
            if each.default is not None and not fits(of_value(each.default), wanted):
                self._say(
                    (*loc, "default"), f"the default is {of_value(each.default)}, not {wanted}"
                )
            if each.choices and each.default is not None and each.default not in each.choices:
                self._say((*loc, "default"), "the default is none of the choices")
            if each.required and each.default is not None:
                self._say(loc, "an input that has a default need not be given")

    def _block(
        self, steps: Sequence[Step], loc: Loc, place: _Place, *, side_by_side: bool
    ) -> dict[str, Type]:
        """Check steps in an order in which they can run; return what is known after them."""
        needs = needs_of(steps, side_by_side=side_by_side)
        at = {step.id: number for number, step in enumerate(steps)}
        gives: dict[str, dict[str, Type]] = {}
        for step_id in self._order(needs, at, loc):
            step, here = steps[at[step_id]], (*loc, at[step_id])
            known: dict[str, Type] = {}
            for before in _all_before(step_id, needs):
                known |= gives.get(before, {})
            gives[step_id] = self._step(step, here, place.knowing(known))
        return {name: each for given in gives.values() for name, each in given.items()}

    def _order(
        self, needs: Mapping[str, Sequence[str]], at: Mapping[str, int], loc: Loc
    ) -> Iterator[str]:
        done: set[str] = set()
        for step_id, before in needs.items():
            for need in before:
                if need not in at:
                    where = (*loc, at[step_id], "needs")
                    others = set(at) - {step_id}
                    self._say(where, f"no step beside it is called {need!r}. {near(need, others)}")
        left = list(needs)
        while left:
            ready = [s for s in left if all(n in done or n not in at for n in needs[s])]
            if not ready:
                said = f"{', '.join(left)} wait for each other"
                self._say((*loc, at[left[0]], "needs"), said)
                return
            for step_id in ready:
                left.remove(step_id)
                done.add(step_id)
                yield step_id

    def _step(self, step: Step, loc: Loc, place: _Place) -> dict[str, Type]:
        """Check one step; return the steps that may be spoken of once it has ended."""
        if step.when is not None:
            self._condition(step.when, (*loc, "when"), place)
        inner = place
        if step.for_each is not None:
            inner = place.also(item=self._item(step, loc, place), index=INTEGER)
        if step.repeat is not None:
            inner = inner.also(round=INTEGER)
        result, within = self._does(step, loc, inner)
        if step.repeat is not None:
            until = inner.knowing(within).also(result=result)
            self._condition(step.repeat.until, (*loc, "repeat", "until"), until)
        own = {step.id: _step_type(step, result)}
        if step.clean_up:
            self._block(step.clean_up, (*loc, "clean_up"), place.knowing(own), side_by_side=False)
        return own if step.loops else {**within, **own}

    def _does(self, step: Step, loc: Loc, place: _Place) -> tuple[Type, dict[str, Type]]:
        if step.block is not None:
            kind = "parallel" if step.parallel is not None else "steps"
            within = self._block(step.block, (*loc, kind), place, side_by_side=kind == "parallel")
            results = {
                each.id: (within[each.id].fields or {}).get("result", ANY)
                for each in step.block
                if each.id in within
            }
            return object_of(results), within
        if step.ask is not None:
            self._template(step.ask, (*loc, "ask"), place)
            return object_of({"question": TEXT}), {}
        return self._tool(step, loc, place), {}

    def _item(self, step: Step, loc: Loc, place: _Place) -> Type:
        where = (*loc, "for_each")
        if isinstance(step.for_each, list):
            if len(step.for_each) > step.max:
                self._say(where, f"{len(step.for_each)} values are more than max {step.max}")
            self._template(step.for_each, where, place)
            return of_value(step.for_each).item or ANY
        found = self._typed(str(step.for_each), where, place)
        if not fits(found, Type("list")):
            self._say(where, f"for_each goes through a list, not {found}")
        return found.item or ANY

    def _tool(self, step: Step, loc: Loc, place: _Place) -> Type:
        assert step.tool is not None
        where = (*loc, "tool")
        if step.tool not in self._registry:
            known = [tool.name for tool in self._registry]
            self._say(where, f"there is no tool {step.tool!r}. {near(step.tool, known)}")
            return ANY
        tool = self._registry.get(step.tool)
        if why := self._why_not(tool) or _unfit(tool, step):
            self._say(where, why)
        self._arguments(tool, step, (*loc, "with"), place)
        return from_schema(tool.output_model.model_json_schema(mode="serialization"))

    def _arguments(self, tool: AnyTool, step: Step, loc: Loc, place: _Place) -> None:
        fields = tool.input_model.model_fields
        schema = tool.schema()
        wanted = from_schema(schema).fields or {}
        for name, value in step.with_.items():
            if name not in fields:
                self._say((*loc, name), f"{tool.name} takes no {name!r}. {near(name, fields)}")
            elif self._template(value, (*loc, name), place):
                self._computed(value, name, wanted.get(name, ANY), (*loc, name), place)
            else:
                self._constant(tool, name, value, (*loc, name))
        for name, parameter in fields.items():
            if parameter.is_required() and name not in step.with_:
                self._say(loc, f"{tool.name} needs {name!r}: {parameter.description}")

    def _computed(self, value: Any, name: str, wanted: Type, loc: Loc, place: _Place) -> None:
        """Compare what one expression alone gives with what the tool takes."""
        if not isinstance(value, str):
            return
        found = next(found_in(value))
        given = TEXT
        if found.whole:
            try:
                given = type_of(found.node, self._scope(place))
            except BadExpression:
                return  # it is told of already
        if not fits(given, wanted):
            more = "; write it with text(…)" if wanted.kind == "text" else ""
            self._say(loc, f"{name} takes {wanted}, and this is {given}{more}")

    def _constant(self, tool: AnyTool, name: str, value: Any, loc: Loc) -> None:
        parameter = tool.input_model.model_fields[name]
        annotated: Any = Annotated[parameter.annotation, parameter]
        try:
            TypeAdapter(annotated).validate_python(value)
        except ValidationError as error:
            self._say(loc, f"{name}: {error.errors()[0]['msg']}")

    def _condition(self, text: str, loc: Loc, place: _Place) -> None:
        found = self._typed(text, loc, place)
        if not fits(found, BOOLEAN):
            self._say(loc, f"a condition is true or false, not {found}")

    def _typed(self, text: str, loc: Loc, place: _Place) -> Type:
        try:
            return self._type_of(parse(text), place)
        except BadExpression as error:
            self._say(loc, f"{text!r}: {error}")
            return ANY

    def _template(self, value: Any, loc: Loc, place: _Place) -> bool:
        """Check the expressions of a value; say whether it has any."""
        try:
            found = list(found_in(value))
        except BadExpression as error:
            self._say(loc, str(error))
            return False
        for each in found:
            self._typed(each.text, (*loc, *each.loc), place)
        return bool(found)

    def _type_of(self, node: Node, place: _Place) -> Type:
        return type_of(node, self._scope(place))

    def _scope(self, place: _Place) -> Scope:
        return Scope({**place.roots, "steps": object_of(place.steps)}, self._no_step(place))

    def _no_step(self, place: _Place) -> Callable[[str], str]:
        def why(name: str) -> str:
            if name in self._ids:
                return f"step {name!r} has not run at this point, or runs in a loop of its own"
            hint = near(name, place.steps)
            return f"there is no step {name!r}. {hint}" if hint else f"there is no step {name!r}"

        return why

    def _say(self, loc: Loc, message: str) -> None:
        problem = self._document.problem(loc, message.strip())
        if problem not in self._problems:
            self._problems.append(problem)


def _input(given: Input) -> Type:
    kind = _INPUTS[given.type]
    return Type(kind.kind, choices=tuple(given.choices)) if given.choices else kind


def _step_type(step: Step, result: Type) -> Type:
    fields = {"state": Type("text", choices=STATES), "ok": BOOLEAN, "error": TEXT}
    if step.for_each is not None:
        return object_of({**fields, "results": list_of(result), "rounds": INTEGER})
    if step.repeat is not None:
        fields["rounds"] = INTEGER
    return object_of({**fields, "result": result})


def _all_before(step: str, needs: Mapping[str, Sequence[str]]) -> set[str]:
    """Return every step that has ended when a step begins."""
    found: set[str] = set()
    left = list(needs.get(step, ()))
    while left:
        each = left.pop()
        if each not in found:
            found.add(each)
            left += needs.get(each, ())
    return found - {step}


def _unfit(tool: AnyTool, step: Step) -> str:
    sealed = [name for name in secrets_of(tool) if name in step.with_]
    if sealed:
        return f"a workflow keeps no secrets, and {', '.join(sealed)} of {tool.name} is one"
    if once := tool.output_model.shown_once():
        return f"{tool.name} shows a secret once ({', '.join(once)}), which a run would keep"
    return ""
