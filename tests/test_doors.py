"""Every corpus through every door: nothing comes through."""

import io
import logging
from collections.abc import Iterator

import pytest
import structlog

from benchmarks.corpora import Markup, markup, mentions, terminal
from benchmarks.doors import DOORS, hits
from nebula.log import configure_logging

FORMS = [*markup(), *terminal(), *mentions()]


@pytest.mark.parametrize("door", sorted(DOORS))
async def test_nothing_of_any_corpus_comes_through_a_door(door: str) -> None:
    assert await hits(door, FORMS) == {}


def test_the_corpora_are_large_enough() -> None:
    assert len(markup()) >= 60
    assert len(terminal()) >= 20
    assert len(mentions()) >= 20


@pytest.fixture
def console_log() -> Iterator[io.StringIO]:
    root, level = logging.getLogger(), logging.getLogger().level
    before = root.handlers[:]
    buffer = io.StringIO()
    configure_logging("console", "INFO", buffer)
    yield buffer
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("form", terminal(), ids=lambda form: form.name)
def test_a_log_line_commands_no_terminal_and_stays_one_line(
    form: Markup, console_log: io.StringIO
) -> None:
    structlog.get_logger("x").info(form.text, **{"name": form.text, "many": [form.text]})
    logging.getLogger("library").warning("said %s", form.text + "\nforged line")
    lines = console_log.getvalue().splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
