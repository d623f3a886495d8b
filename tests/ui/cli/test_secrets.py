"""`jarvis secrets`, as the operator types it."""

import json
import re

from tests.canary import found
from tests.ui.cli.terminal import Terminal

VALUE = "the-operators-value-1"


def test_a_value_is_piped_in_shown_on_record_and_sealed_with_a_new_key(terminal: Terminal) -> None:
    set_ = terminal.run("secrets", "set", "Token", "--yes", "--note", "x", text=f"{VALUE}\n")
    assert set_.returncode == 0, set_.stderr
    assert "secret://token" in set_.stdout
    listed = terminal.run("secrets", "list", "--json")
    assert json.loads(listed.stdout)["secrets"][0]["name"] == "token"
    key = (terminal.home / "secrets.key").read_bytes()
    rekeyed = terminal.run("secrets", "rekey")
    assert "1 values are sealed with a new key" in rekeyed.stdout, rekeyed.stderr
    assert (terminal.home / "secrets.key").read_bytes() != key
    refused = terminal.run("secrets", "show", "token")
    assert refused.returncode == 2
    shown = terminal.run("secrets", "show", "TOKEN", "--pipe")
    assert shown.stdout == f"{VALUE}\n", shown.stderr
    lines = terminal.run("run", "secrets_usage", "--json").stdout
    assert json.loads(lines) == {"uses": []}
    assert terminal.run("audit", "verify").returncode == 0
    told = "".join(part for ended in (set_, listed, rekeyed, refused) for part in ended[1:])
    assert not found(VALUE, told)


def test_without_a_yes_the_change_waits_and_an_empty_value_is_refused(terminal: Terminal) -> None:
    waits = terminal.run("secrets", "set", "token", text=VALUE)
    assert waits.returncode == 3
    assert re.search(r"approve apr_\w+", waits.stderr)
    empty = terminal.run("secrets", "set", "token", "--yes", text="\n")
    assert empty.returncode == 2
    assert "no value" in empty.stderr


def test_the_other_commands_reach_their_tools(terminal: Terminal) -> None:
    for command in (
        ("rotate", "one", "--generate"),
        ("restore", "one"),
        ("share", "one", "notify"),
        ("delete", "one"),
        ("show", "one", "--pipe"),
    ):
        yes = () if command[0] == "show" else ("--yes",)
        ended = terminal.run("secrets", *command, *yes)
        assert ended.returncode == 5, ended.stderr
        assert "There is no secret://one" in ended.stderr
    compared = terminal.run("secrets", "compare", "default", "staging")
    assert "Neither default nor staging" in compared.stdout
