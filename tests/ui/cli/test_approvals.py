"""The inbox at the terminal: asked about as it comes, withdrawn when answered elsewhere."""

import asyncio
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from rich.console import Console

from tests.ui.cli.terminal import Terminal
from ui.cli.approve import answer_in, ask_at, draw_card, prompt_for, tell_elsewhere
from ui.cli.keyboard import Keyboard

CARD = {
    "id": "apr_1",
    "tool": "gpu_release_lease",
    "effect": "destructive",
    "level": "destructive",
    "arguments": {"lease": "3f2a\u202e"},
    "by_model": True,
    "labels": ["user"],
    "reason": "It cannot be undone.",
    "expires_at": "soon",
    "state": "denied",
    "decided_by": "bob",
    "decided_where": "chat",
    "evidence": {
        "title": "Take a lease away",
        "origins": {"lease": "unknown"},
        "preview": [{"kind": "table", "columns": ["", ""], "rows": [["work", "a film"]]}],
    },
}
OUTSIDE = {**CARD, "labels": ["outside", "user"]}


@pytest.mark.parametrize(
    ("line", "plain", "in_full"),
    [
        ("y", ("approve", ""), None),
        ("YES", ("approve", ""), None),
        ("approve", ("approve", ""), ("approve", "")),
        ("n", ("deny", ""), ("deny", "")),
        ("deny", ("deny", ""), ("deny", "")),
        (" ", None, None),
        ("only the small one", *[("request_changes", "only the small one")] * 2),
    ],
)
def test_one_key_is_no_yes_where_outside_text_may_have_asked(
    line: str, plain: object, in_full: object
) -> None:
    assert answer_in(line) == plain
    assert answer_in(line, in_full=True) == in_full
    assert "[y]es" in prompt_for(CARD) and "Type approve" in prompt_for(OUTSIDE)


def test_the_card_shows_what_would_happen_and_where_each_value_came_from() -> None:
    out = io.StringIO()
    draw_card(OUTSIDE, Console(file=out, width=100))
    shown = out.getvalue()
    assert "Take a lease away" in shown and "a film" in shown
    assert "lease = 3f2a\\u202e   (origin unknown)" in shown
    assert "Text from outside was read" in shown
    draw_card(CARD, Console(file=(plain := io.StringIO()), width=100))
    assert "Text from outside" not in plain.getvalue()


@contextmanager
def typing() -> Iterator[int]:
    """Let `input` read from a pipe; give the end to type into."""
    reading, writing = os.pipe()
    before = sys.stdin
    with os.fdopen(reading) as lines:
        sys.stdin = lines
        try:
            yield writing
        finally:
            sys.stdin = before
            os.close(writing)


async def test_a_question_answered_elsewhere_is_withdrawn_and_the_next_line_is_not_lost(
    capsys: pytest.CaptureFixture[str],
) -> None:
    elsewhere, keyboard = asyncio.Event(), Keyboard()

    async def answered() -> dict[str, object]:
        await elsewhere.wait()
        return CARD

    with typing() as keys:
        asking = asyncio.create_task(ask_at(keyboard, CARD, answered()))
        await asyncio.sleep(0)
        elsewhere.set()
        assert await asking == "elsewhere"
        assert "gpu_release_lease: denied by bob (chat)" in capsys.readouterr().err
        elsewhere.clear()
        asking = asyncio.create_task(ask_at(keyboard, CARD, answered()))
        os.write(keys, b"y\n")
        assert await asking == ("approve", "")


def test_a_withdrawn_question_says_that_it_is_no_longer_needed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell_elsewhere({**CARD, "state": "withdrawn", "comment": "The run was cancelled."})
    assert "no longer needed: The run was cancelled." in capsys.readouterr().err


def test_what_stands_still_is_listed_with_what_waits(terminal: Terminal, database_url: str) -> None:
    made = terminal.run(
        *("run", "agents_create", "--arg", "name=watch"),
        *("--arg", "purpose=Look after the services.", "--arg", 'features=["services"]'),
    )
    assert made.returncode == 0, made.stderr
    refused = terminal.run("run", "agents_run", "--arg", "agent=watch")
    assert "No language model is connected" in refused.stderr
    assert "check setup" in refused.stderr
    off = "UPDATE agents SET enabled = false, failures = 5, stopped_because = 'It failed.'"
    with psycopg.connect(database_url, autocommit=True) as database:
        database.execute(off)
    shown = terminal.run("approvals", "list").stdout
    assert "watch stands still: It failed. Say: resume agent watch" in " ".join(shown.split())


def test_approvals_watch_asks_about_what_waits(terminal: Terminal) -> None:
    asked = terminal.run("user", "create", "bob")
    match = re.search(r"approve (apr_\w+)", asked.stderr)
    assert match is not None
    code, screen = terminal.type(
        "approvals", "watch", answers=[("Approve?", b"y\n"), ("Nothing else waits", b"\x03")]
    )
    assert code == 0, screen
    assert "New account" in screen and "name = bob" in screen
    assert '"approved"' in terminal.run("approvals", "show", match.group(1), "--json").stdout
