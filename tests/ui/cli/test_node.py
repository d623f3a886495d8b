"""`jarvis node`: tokens, the list, and becoming the agent."""

import re

from tests.ui.cli.terminal import Terminal


def test_a_token_is_printed_as_the_command_that_uses_it_and_the_list_is_empty_at_first(
    terminal: Terminal,
) -> None:
    made = terminal.run("node", "token", "--minutes", "5")
    assert made.returncode == 0, made.stderr
    assert re.match(r"jarvis node join http://127.0.0.1:\d+ \S{40,}\n", made.stdout)
    listed = terminal.run("node", "list")
    assert "No other machine joined yet" in listed.stdout, listed.stderr
    gone = terminal.run("node", "remove", "nobody")
    assert gone.returncode == 5 and "no machine 'nobody'" in gone.stderr


def test_the_agents_own_commands_are_passed_on_with_their_words_and_their_code(
    terminal: Terminal,
) -> None:
    ended = terminal.process("node", "run", "--home", str(terminal.home / "agent"))
    assert ended.returncode == 1 and "has not joined" in ended.stderr
    shown = terminal.process("node", "autostart", "--show", "windows")
    assert shown.returncode == 0 and "<Task" in shown.stdout
