import json
from pathlib import Path

from typer.testing import CliRunner

from nebula.errors import InvalidInput, NotFound
from ui.cli.main import app

SMALL = ["gpu", "simulate", "--jobs", "25", "--cards", "12GB"]


def test_a_made_up_trace_is_played_saved_and_played_again_alike(tmp_path: Path) -> None:
    saved = tmp_path / "trace.jsonl"
    first = CliRunner().invoke(app, [*SMALL, "--seed", "4", "--save", str(saved), "--json"])
    assert first.exit_code == 0, first.output
    again = CliRunner().invoke(app, ["gpu", "simulate", str(saved), "--json"])
    assert json.loads(first.output) == json.loads(again.output)
    assert json.loads(first.output)["runs"][0]["finished"] == 25


def test_another_card_is_compared_and_drawn(tmp_path: Path) -> None:
    plot = tmp_path / "plot.html"
    result = CliRunner().invoke(app, [*SMALL, "--also", "24GB", "--plot", str(plot)])
    assert result.exit_code == 0, result.output
    assert "What the added cards bring" in result.output
    assert "exclusive" in result.output
    text = plot.read_text(encoding="utf-8")
    assert "added-pc1" in text
    assert 'src="https' not in text


def test_jobs_that_fit_none_of_the_cards_are_named(tmp_path: Path) -> None:
    saved = tmp_path / "trace.jsonl"
    CliRunner().invoke(app, ["gpu", "simulate", "--cards", "24GB", "--save", str(saved)])
    result = CliRunner().invoke(app, ["gpu", "simulate", str(saved), "--cards", "8GB"])
    assert result.exit_code == 0, result.output
    assert "jobs never ended" in result.output


def test_a_check_of_a_card_that_is_not_there_says_so() -> None:
    result = CliRunner().invoke(app, ["gpu", "check", "--card", "63", "--json"])
    assert isinstance(result.exception, NotFound)


def test_a_size_to_check_with_needs_its_unit() -> None:
    result = CliRunner().invoke(app, ["gpu", "check", "--size", "2"])
    assert isinstance(result.exception, InvalidInput)
    assert "--size 1GB" in result.exception.hint
