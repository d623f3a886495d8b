"""Characters that hide or command."""

import json

import pytest

from benchmarks.corpora import Markup, terminal
from nebula.markup.mentions import unmentioned
from nebula.markup.text import escape, json_line, prose, visible, visible_in


@pytest.mark.parametrize("form", terminal(), ids=lambda form: form.name)
def test_nothing_hidden_stays_hidden_and_nothing_commands(form: Markup) -> None:
    text = form.text
    for shown in (visible(text), prose(text), escape(text)):
        assert shown.replace("\n", "").isprintable()
        assert not set(shown) & set("\u3164\u115f\uffa0\ufe00\ufe01\U000e0100")
        assert shown != text
    assert visible_in({"a": [text]}) == {"a": [visible(text)]}
    line = json_line({"a": text})
    assert line.isprintable()
    assert json.loads(line) == {"a": text}, "the same document"


def test_tabs_and_new_lines_stay() -> None:
    assert visible("a\tb\nc") == prose("a\tb\nc") == "a\tb\nc"


def test_emoji_and_scripts_that_need_joiners_stay_whole_in_prose_and_open_in_values() -> None:
    text = "👩🏽\u200d🚀 🏳️\u200d🌈 \u0645\u06cc\u200c\u062e क्\u200dष"
    assert prose(text) == text
    assert "\\u200d" in visible(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("@everyone @here", "@\u200beveryone @\u200bhere"),
        (
            "<@123> <@!123> <@&123> <#1>",
            "<\u200b@\u200b123> <\u200b@\u200b!123> <\u200b@\u200b&123> <\u200b#1>",
        ),
        (
            "<!channel> </x:1> <:e:1> <a:e:1> <t:1:R>",
            "<\u200b!channel> <\u200b/x:1> <\u200b:e:1> <\u200ba:e:1> <\u200bt:1:R>",
        ),
        ("[bank](http://evil.test)", "[bank]\u200b(http://evil.test)"),
        ("<http://evil.test|bank>", "bank (http://evil.test)"),
        ("mail ann@example.org, 5 < 6, *bold*", "mail ann@example.org, 5 < 6, *bold*"),
    ],
)
def test_a_messenger_finds_nobody_to_ping_and_no_masked_link(text: str, shown: str) -> None:
    assert unmentioned(text) == shown
