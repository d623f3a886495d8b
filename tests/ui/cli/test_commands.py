import json
import re

import psycopg
import pytest

from tests.ui.cli.terminal import Terminal


def test_help_names_every_command_and_imports_nothing_heavy(terminal: Terminal) -> None:
    shown = terminal.process("--help")
    assert shown.returncode == 0
    for command in (
        "up",
        "chat",
        "run",
        "jobs",
        "tools",
        "approvals",
        "doctor",
        "migrate",
        "user",
        "key",
    ):
        assert re.search(rf"^\s+{command}\s", shown.stdout, re.M)


def test_a_tool_runs_and_its_result_is_drawn_or_written_as_json(terminal: Terminal) -> None:
    drawn = terminal.run("run", "users_list")
    assert drawn.returncode == 0, drawn.stderr
    assert "admin" in drawn.stdout
    written = terminal.run("run", "users_list", "--json")
    assert json.loads(written.stdout)["users"][0]["name"] == "admin"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run", "no_such_tool"), 5, "no tool"),
        (("run", "users_list", "--arg", "x=1"), 2, "takes no 'x'"),
        (("run", "users_create", "--arg", "name"), 2, "not key=value"),
        (("run", "users_create", "--json-args", "[1]"), 2, "not a JSON object"),
        (("approvals", "show", "apr_nothing"), 5, "no approval"),
        (("key", "revoke", "key_nothing"), 5, "no such key"),
        (("user", "link", "nobody"), 5, "nobody"),
        (("new", "feature", "Not A Name"), 2, "not a feature's name"),
    ],
)
def test_an_error_is_one_line_with_a_code_by_its_kind(
    terminal: Terminal, arguments: tuple[str, ...], code: int, words: str
) -> None:
    ended = terminal.run(*arguments)
    assert ended.returncode == code, ended.stderr
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.startswith("jarvis: ")


def test_with_json_an_error_has_the_one_error_shape(terminal: Terminal) -> None:
    ended = terminal.run("run", "no_such_tool", "--json")
    assert ended.returncode == 5
    assert json.loads(ended.stdout)["error"]["code"] == "not_found"


def test_a_call_that_waits_is_approved_by_another_command_and_then_runs_once(
    terminal: Terminal,
) -> None:
    asked = terminal.run("user", "create", "bob")
    assert asked.returncode == 3
    match = re.search(r"approve (apr_\w+).*--call-id (\S+?)\.", asked.stderr)
    assert match is not None, asked.stderr
    approval, call_id = match.groups()
    assert approval in terminal.run("approvals", "list").stdout
    assert "name = bob" in terminal.run("approvals", "show", approval).stdout
    assert terminal.run("approvals", "approve", approval).returncode == 0
    again = ("run", "users_create", "-a", "name=bob", "-a", "role=viewer", "--call-id", call_id)
    assert terminal.run(*again).returncode == 0
    assert "bob" in terminal.run("user", "list").stdout
    assert terminal.run("approvals", "deny", approval).returncode == 6


def test_changes_are_requested_with_a_word_about_them_and_the_call_does_not_run(
    terminal: Terminal,
) -> None:
    asked = terminal.run("user", "create", "bob")
    match = re.search(r"(apr_\w+).*--call-id (\S+?)\.", asked.stderr)
    assert match is not None, asked.stderr
    approval, call_id = match.groups()
    change = ("approvals", "request-changes", approval)
    assert terminal.run(*change).returncode == 2, "it wants to know what should change"
    assert terminal.run(*change, " ").returncode == 2
    ended = terminal.run(*change, "Call her Bobbie")
    assert (ended.returncode, ended.stdout) == (0, "users_create: changes requested.\n")
    shown = json.loads(terminal.run("approvals", "show", approval, "--json").stdout)
    assert (shown["state"], shown["comment"]) == ("changes_requested", "Call her Bobbie")
    again = ("run", "users_create", "-a", "name=bob", "-a", "role=viewer", "--call-id", call_id)
    refused = terminal.run(*again)
    assert refused.returncode == 6
    assert "Call her Bobbie" in refused.stderr
    assert "bob" not in terminal.run("user", "list").stdout


def test_a_person_at_the_terminal_is_asked_inline(terminal: Terminal) -> None:
    code, screen = terminal.type("user", "create", "bob", answers=[("Approve?", b"y\n")])
    assert code == 0, screen
    assert "name = bob" in screen
    assert "/api/auth/link/" in screen


def test_saying_no_at_the_terminal_denies_the_call(terminal: Terminal) -> None:
    code, screen = terminal.type("user", "create", "bob", answers=[("Approve?", b"n\n")])
    assert code == 4, screen
    assert "bob" not in terminal.run("user", "list").stdout


def test_a_key_is_shown_once_and_can_be_revoked(terminal: Terminal) -> None:
    made = json.loads(terminal.run("key", "create", "--name", "ci", "--json").stdout)
    assert made["key"].startswith("jk_")
    listed = terminal.run("key", "list", "--json").stdout
    assert made["key"] not in listed
    assert json.loads(listed)[0]["role"] == "viewer"
    assert terminal.run("key", "revoke", made["id"]).returncode == 0
    assert json.loads(terminal.run("key", "list", "--json").stdout) == []


def test_the_audit_log_is_searched_exported_and_verified(terminal: Terminal) -> None:
    terminal.run("run", "users_list")
    ended = terminal.run("audit", "verify", "--json")
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["intact"] is True
    found = json.loads(terminal.run("audit", "search", "--tool", "users_list", "--json").stdout)
    assert [(line["surface"], line["outcome"]) for line in found] == [("terminal", "ok")]
    assert "users_list" in terminal.run("audit", "search", "--since", "2020-01-01").stdout
    file = terminal.home / "audit.jsonl"
    assert terminal.run("audit", "export", str(file)).returncode == 0
    assert terminal.run("audit", "export", str(file)).returncode == 6
    assert (
        "2 lines, 0 anchors: intact." in terminal.run("audit", "verify", "--file", str(file)).stdout
    )
    file.write_text(file.read_text().replace("users_list", "users_look"))
    broken = terminal.run("audit", "verify", "--file", str(file))
    assert broken.returncode == 1
    assert "line 2 was changed" in broken.stdout


def test_a_role_that_could_alter_the_audit_log_is_told_with_what_to_run(
    terminal: Terminal, database_url: str
) -> None:
    safe = {c["name"]: c for c in json.loads(terminal.run("doctor", "--json").stdout)}
    assert safe["audit log"]["state"] == "ok"
    terminal.database_url = database_url
    told = {c["name"]: c for c in json.loads(terminal.run("doctor", "--json").stdout)}
    assert told["audit log"]["state"] == "note" and "nebula" in told["audit log"]["detail"]
    assert "jarvis audit role" in told["audit log"]["next_step"]
    script = terminal.run("audit", "role", "jarvis_app").stdout
    assert 'GRANT SELECT ON "audit_log" TO "jarvis_app"' in script
    with psycopg.connect(database_url) as owner:
        for statement in script.partition("change me';")[2].split(";"):
            if statement.strip().startswith(("GRANT", "REVOKE")):
                owner.execute(statement)  # type: ignore[call-overload]


def test_tools_are_listed_and_searched(terminal: Terminal) -> None:
    found = json.loads(terminal.run("tools", "--search", "list users", "--json").stdout)
    assert "users_list" in [tool["name"] for tool in found]


def test_a_plain_command_is_answered_in_the_chat_without_any_model(terminal: Terminal) -> None:
    said = terminal.process("chat", text="check GPU status\nexit\n")
    assert said.returncode == 0, said.stderr
    assert "gpu_status" in said.stdout
    assert "GPU" in said.stdout


def test_a_wrong_setting_is_named(terminal: Terminal) -> None:
    (terminal.home / ".env").write_text("JARVIS_PORT=many\n")
    ended = terminal.run("key", "list")
    assert ended.returncode == 2
    assert "port" in ended.stderr


def test_a_database_that_is_away_is_said_so(terminal: Terminal) -> None:
    terminal.database_url = "postgresql://x:secretword@127.0.0.1:1/x"
    terminal.more["DATABASE_OWNER_URL"] = terminal.database_url
    ended = terminal.run("user", "list")
    assert ended.returncode == 75
    assert "database" in ended.stderr
    assert "secretword" not in ended.stderr


def test_a_role_that_is_not_there_is_named(terminal: Terminal) -> None:
    terminal.database_url = terminal.database_url.replace("jarvis_app", "nobody")
    ended = terminal.run("user", "list")
    assert ended.returncode == 2
    assert "no role 'nobody'" in ended.stderr and "jarvis audit role nobody" in ended.stderr


def test_the_doctor_looks_at_everything(terminal: Terminal) -> None:
    ended = terminal.run("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(ended.stdout)}
    assert {"python", "packages", "data folder", "disk", "database", "gpu", "openai"} <= set(checks)
    assert checks["migrations"]["state"] == "ok"
    assert "landlock" in checks["sandbox"]["detail"]
    assert all(check["next_step"] for check in checks.values() if check["state"] != "ok")


def test_the_doctor_finds_a_broken_service_map_with_its_line(terminal: Terminal) -> None:
    (terminal.home / "service-map.yml").write_text("version: 1\nnodes:\n  - nam: x\n")
    ended = terminal.run("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(ended.stdout)}
    assert ended.returncode == 1
    assert "line 3" in checks["service map"]["detail"]
