"""`jarvis discord` without a token, and the code that links the operator's own account."""

import re

from tests.ui.cli.terminal import Terminal


def test_without_a_token_the_bot_says_what_to_set(terminal: Terminal) -> None:
    ended = terminal.run("discord")
    assert ended.returncode == 2
    assert "There is no bot token" in ended.stderr
    assert "JARVIS_DISCORD_TOKEN" in ended.stderr


def test_a_code_for_ones_own_account_is_printed(terminal: Terminal) -> None:
    ended = terminal.run("discord", "link")
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"/link [0-9A-Z]{10}", ended.stdout)
