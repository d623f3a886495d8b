"""Characters that hide or command."""

import json

import pytest

from nebula.markup.mentions import unmentioned
from nebula.markup.text import escape, json_line, prose, visible, visible_in

COMMANDS = {
    "hyperlink": "\x1b]8;;http://evil.test\x1b\\click\x1b]8;;\x1b\\",
    "title": "\x1b]0;pwned\x07",
    "clipboard": "\x1b]52;c;cm0gLXJmIC8=\x07",
    "cursor": "\x1b[2J\x1b[1;1H\x1b[3A",
    "colour": "\x1b[31mred\x1b[0m",
    "paste": "\x1b[200~rm -rf /\n\x1b[201~",
    "image": "\x1bPq#0;2;0;0;0\x1b\\",
    "C1 sequence": "\x9b31m\x9d8;;http://evil.test\x9c",
    "overwriting": "safe\rrm -rf /",
    "backspace": "rm -rf /\x08\x08\x08ls",
    "bell": "\x07" * 9,
    "bidi override": "user\u202etxt.exe",
    "bidi isolate": "\u2066a\u2069\u061c\u200f",
    "zero width": "pass\u200bword\u2060\ufeff\u00ad",
    "joiners in Latin": "a\u200db\u200cc",
    "line separators": "a\u2028b\u2029c\u0085d",
    "tags": "hi\U000e0068\U000e0069",
    "variation selectors": "a\ufe00\ufe01\U000e0100\U000e0101",
    "fillers": "\u3164\u115f\uffa0\u180e",
    "private use": "\ue000\U000f0000",
    "nul": "a\x00b",
}


@pytest.mark.parametrize("text", COMMANDS.values(), ids=COMMANDS)
def test_nothing_hidden_stays_hidden_and_nothing_commands(text: str) -> None:
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
