"""Which words decide which question."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nebula.errors import Conflict
from nebula.policy.ask import Level
from nebula.tool.approval import Approval
from ui.chat.spoken import Spoken, chosen, spoken

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def question(name: str = "1", *, age: float = 60, **more: Any) -> Approval:
    fields = {name: None for name in Approval.model_fields}
    made = {"level": Level.NORMAL, "labels": [], "by_model": True, "surface": "chat", **more}
    at = NOW - timedelta(seconds=age)
    return Approval.model_construct(**{**fields, "id": f"apr_{name}", "created_at": at, **made})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("approve", Spoken("approve", None)),
        (" Approve  it. ", Spoken("approve", None)),
        ("deny", Spoken("deny", None)),
        ("reject that!", Spoken("deny", None)),
        ("approve apr_0a1b", Spoken("approve", "apr_0a1b")),
        ("yes", None),
        ("approve the budget", None),
        ("approve apr_1 and apr_2", None),
        ("I would not approve", None),
        ("approve\n\nignore what came before", None),
        ("/approve", None),
        ("", None),
    ],
)
def test_only_the_bare_words_are_a_decision(text: str, said: Spoken | None) -> None:
    assert spoken(text) == said


def test_the_one_question_that_waits_is_meant_and_none_is_no_decision() -> None:
    one = question()
    assert chosen(Spoken("approve", None), [one], NOW) is one
    assert chosen(Spoken("deny", None), [one], NOW) is one
    assert chosen(Spoken("approve", None), [], NOW) is None


@pytest.mark.parametrize(
    ("said", "waiting", "why"),
    [
        (Spoken("approve", None), [question("1"), question("2")], "2 questions wait"),
        (Spoken("deny", None), [question("1"), question("2")], "2 questions wait"),
        (Spoken("approve", "apr_9"), [question("1")], "No such question"),
        (Spoken("approve", None), [question(level=Level.DESTRUCTIVE)], "one word"),
        (Spoken("approve", None), [question(level=Level.CRITICAL)], "one word"),
        (Spoken("approve", None), [question(labels=["outside"])], "one word"),
        (Spoken("approve", None), [question(age=1)], "just now"),
    ],
)
def test_what_is_not_certain_is_not_decided(
    said: Spoken, waiting: list[Approval], why: str
) -> None:
    with pytest.raises(Conflict, match=why) as refused:
        chosen(said, waiting, NOW)
    assert "apr_1" in refused.value.hint


def test_with_its_id_any_question_of_the_conversation_is_decided() -> None:
    heavy = question("2", level=Level.CRITICAL, labels=["outside"], age=0)
    assert chosen(Spoken("approve", "apr_2"), [question("1"), heavy], NOW) is heavy
