"""Expressions: what they give, what they refuse, and that the types hold what they promise."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.workflows.expressions.checking import Scope, type_of
from tools.workflows.expressions.functions import Failed
from tools.workflows.expressions.syntax import BadExpression, parse
from tools.workflows.expressions.templates import filled, found_in
from tools.workflows.expressions.types import TEXT, from_schema, object_of, of_value
from tools.workflows.expressions.values import value_of

VALUES: dict[str, Any] = {
    "inputs": {"days": 7, "name": "disk one", "names": ["a", "b"]},
    "steps": {
        "disk": {
            "result": {
                "free_bytes": 9_000_000_000,
                "state": "failed",
                "disks": [{"name": "sda", "free": 3}, {"name": "sdb", "free": 8}],
            },
            "ok": True,
        },
        "left_out": {"result": None, "ok": False},
    },
    "run": {"started_at": "2026-11-30T07:00:00+00:00"},
    "item": {"at": "2026-11-28T07:00:00Z"},
}

GIVES: list[tuple[str, Any]] = [
    ("${steps.disk.result.free_bytes} < 10 GB", True),
    ("steps.disk.result.free_bytes < 8 GiB", False),
    ("inputs.days * 2 + 1", 15),
    ("7 / 2", 3.5),
    ("-inputs.days % 4", 1),
    ("1 + 2 * 3 == 7 and not (2 > 3)", True),
    ("true or 1 / 0 == 1", True),
    ("false and 1 / 0 == 1", False),
    ("not true or true", True),
    ("5 min", 300),
    ("1.5 h > 1 h", True),
    ("len(inputs.names)", 2),
    ("join(inputs.names, '; ')", "a; b"),
    ("default(steps.left_out.result, 'none')", "none"),
    ("steps.left_out.result == null", True),
    ("'one' in inputs.name", True),
    ("'b' not in inputs.names", False),
    ("inputs.names[-1]", "b"),
    ("inputs['days']", 7),
    ("pluck(steps.disk.result.disks, 'name')", ["sda", "sdb"]),
    ("where(steps.disk.result.disks, 'name', 'sdb')[0].free", 8),
    ("max(pluck(steps.disk.result.disks, 'free'))", 8),
    ("last(sort(steps.disk.result.disks, 'free')).name", "sdb"),
    ("choose(steps.disk.ok, 'good', 'bad')", "good"),
    ("seconds_between(item.at, run.started_at) == 2 d", True),
    ("round(2.567, 1)", 2.6),
    ("[1, 2] + [3]", [1, 2, 3]),
    (r"'it\'s' + \"!\"".replace('\\"', '"'), "it's!"),
    ("unique([1, 1, 'a'])", [1, "a"]),
    ("lower('ABC') + trim(' x ')", "abcx"),
]


@pytest.mark.parametrize(("text", "value"), GIVES, ids=[each[0] for each in GIVES])
def test_an_expression_gives_its_value(text: str, value: Any) -> None:
    found = value_of(parse(text), VALUES)
    assert found == value
    assert type(found) is type(value)


def typed(text: str) -> Any:
    scope = Scope(
        {name: of_value(each) for name, each in VALUES.items()}, lambda name: f"no {name}"
    )
    return type_of(parse(text), scope)


@pytest.mark.parametrize(("text", "value"), GIVES, ids=[each[0] for each in GIVES])
def test_the_type_that_is_told_before_is_the_type_of_the_value(text: str, value: Any) -> None:
    kind, real = typed(text).kind, of_value(value).kind
    assert kind in {real, "any"} or (kind, real) == ("number", "integer")


REFUSED = [
    ("steps.disc.result", "no disc"),
    ("steps.disk.free_bytes > 1", "Did you mean result.free_bytes?"),
    ("steps.disk.result.free_byte", "Did you mean free_bytes?"),
    ("inputs.dys", "Did you mean days?"),
    ("lenght(inputs.names)", "Did you mean len?"),
    ("inputs.name > 3", "text is compared with integer"),
    ("inputs.days and true", "`and` wants boolean"),
    ("inputs.name - 1", "`-` wants number"),
    ("inputs.days.more", "integer has no field"),
    ("inputs.names.a", "take one item with [0]"),
    ("len(1)", "value 1 of len"),
    ("join()", "takes 1 or 2 values"),
    ("1 < 2 < 3", "joined by `and`"),
    ("1 +", "a value is expected"),
    ("__import__('os')", "no function"),
    ("(1", "`)` is expected"),
    ("a; b", "no part of an expression"),
    ("pluck(steps.disk.result.disks, 'nam')", "Did you mean name?"),
    ("((" * 30 + "1" + "))" * 30, "nested too deeply"),
]


@pytest.mark.parametrize(("text", "said"), REFUSED, ids=[each[0][:40] for each in REFUSED])
def test_a_mistake_is_named_before_anything_runs(text: str, said: str) -> None:
    with pytest.raises(BadExpression) as refused:
        typed(text)
    assert said in str(refused.value)


FAILS = [
    ("1 / 0", "divided by zero"),
    ("inputs.names[5]", "no item 5"),
    ("steps.left_out.result.size > 3", "nothing is no number"),
    ("inputs.name and true", "neither true nor false"),
    ("max([])", "the list is empty"),
    ("number('x')", "is no number"),
    (
        "replace(replace('aaaaaaaaaa', 'a', join(inputs.names, replace('b' , 'b', inputs.name))),"
        " 'a', 'b')[0]",
        "has no item",
    ),
]


@pytest.mark.parametrize(("text", "said"), FAILS, ids=[each[0][:40] for each in FAILS])
def test_what_cannot_be_worked_out_says_why(text: str, said: str) -> None:
    with pytest.raises(Failed, match=said):
        value_of(parse(text), VALUES)


def test_one_is_not_yes() -> None:
    assert value_of(parse("1 == true"), {}) is False
    assert value_of(parse("1 in [true]"), {}) is False


def test_no_text_grows_without_end() -> None:
    text = "x"
    with pytest.raises(Failed, match="longer than"):
        for _ in range(40):
            text = value_of(parse("replace(item, 'x', 'xxxxxxxxxx')"), {"item": text})


def test_a_choice_that_never_is_is_a_mistake() -> None:
    schema = {"type": "object", "properties": {"state": {"enum": ["failed", "succeeded"]}}}
    scope = Scope({"result": from_schema(schema)}, str)
    assert type_of(parse("result.state == 'failed'"), scope).kind == "boolean"
    with pytest.raises(BadExpression, match=r"never 'faild'. Did you mean failed\?"):
        type_of(parse("result.state == 'faild'"), scope)


def test_a_value_keeps_its_type_alone_and_becomes_text_within_a_text() -> None:
    template = {
        "days": "${inputs.days}",
        "said": "${inputs.days} days, ${'}'} and $${this}",
        "list": ["${inputs.names}", "plain"],
    }
    assert filled(template, VALUES) == {
        "days": 7,
        "said": "7 days, } and ${this}",
        "list": [["a", "b"], "plain"],
    }
    places = [(found.loc, found.whole) for found in found_in(template)]
    assert places == [
        (("days",), True),
        (("said",), False),
        (("said",), False),
        (("list", 0), True),
    ]
    with pytest.raises(BadExpression, match="not closed"):
        list(found_in("${inputs.days"))


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        node = parse(text)
        type_of(node, Scope({"inputs": object_of({"x": TEXT})}, str))
        value_of(node, {"inputs": {"x": "y"}})
    except (BadExpression, Failed):
        pass


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
        ),
    )
)
@settings(max_examples=100, deadline=None)
def test_a_value_without_expressions_stays_as_it_is(value: Any) -> None:
    if "${" not in repr(value):
        assert filled(value, {}) == value
