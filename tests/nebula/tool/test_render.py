from datetime import UTC, datetime

from nebula.tool.render import escape, generic_blocks, to_markdown, visible
from nebula.tool.result import Choices, Result, Table


class Row(Result):
    name: str
    size: float | None


class Listing(Result):
    total: int
    at: datetime
    rows: list[Row]


def test_any_result_shows_its_fields_and_its_rows_as_a_table() -> None:
    listing = Listing(
        total=2,
        at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        rows=[Row(name="a", size=1.5), Row(name="b", size=None)],
    )
    shown = to_markdown(generic_blocks(listing))
    assert "- **Total**: 2" in shown
    assert "| a | 1.5 |" in shown
    assert "| b | – |" in shown


def test_a_value_cannot_bring_markup_html_or_hidden_text() -> None:
    assert escape("![x](http://evil)<b>") == r"\!\[x\]\(http://evil\)\<b\>"
    assert visible("safe\u202eexe.txt") == "safe\\u202eexe.txt"
    assert visible("a\x1b[31mb") == "a\\u001b[31mb"
    assert "\n" not in escape("one\n# two")


def test_cells_cannot_break_out_of_a_table() -> None:
    shown = to_markdown([Table(columns=["a"], rows=[["x | y\n| z"]])])
    assert shown.count("\n") == 2


def test_choices_are_numbered() -> None:
    shown = to_markdown([Choices(question="Which?", options=[("One", "1"), ("Two", "2")])])
    assert shown == "Which?\n\n1. One\n2. Two"
