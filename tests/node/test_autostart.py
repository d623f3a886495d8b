"""What starts the agent with a machine, by the text that is generated."""

import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from nebula.packages import checkout
from node.autostart import Start, systemd_unit, task_xml, windowless, windows_user
from node.process.windows import end_argv, options

ODD = Start("/opt/my venv/bin/python", '/opt/50% "off"', "/var/lib/no$de")


@pytest.mark.parametrize("system", [True, False])
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_the_generated_unit_is_one_that_systemd_takes(tmp_path: Path, system: bool) -> None:
    unit = tmp_path / "nebula-node.service"
    start = Start(shutil.which("python3") or "/usr/bin/python3", str(tmp_path), str(tmp_path))
    unit.write_text(systemd_unit(start, system=system))
    done = subprocess.run(
        ["systemd-analyze", "verify", *([] if system else ["--user"]), str(unit)],
        capture_output=True,
        text=True,
        env={"XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    said = [line for line in done.stderr.splitlines() if "nebula-node" in line]
    assert said == [], done.stderr


def test_a_unit_quotes_what_systemd_would_read_otherwise() -> None:
    text = systemd_unit(ODD, system=True)
    assert (
        'ExecStart="/opt/my venv/bin/python" "-m" "node" "run" "--home" "/var/lib/no$$de"' in text
    )
    assert 'Environment="PYTHONPATH=/opt/50%% \\"off\\""' in text


def test_a_windows_task_is_xml_with_the_schema_of_the_task_scheduler() -> None:
    start = Start(r"C:\Users\Ada & Bob\venv\python.exe", r"C:\agent", r"C:\Users\Ada & Bob\node")
    root = ElementTree.fromstring(task_xml(start, "PC\\Ada").replace(' encoding="UTF-16"', ""))
    ns = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
    assert root.tag == f"{ns}Task"
    assert root.findtext(f".//{ns}Command") == start.python
    assert root.findtext(f".//{ns}Arguments") == rf'-m node run --home "{start.home}"'
    assert root.findtext(f".//{ns}ExecutionTimeLimit") == "PT0S"
    assert root.findtext(f".//{ns}LogonTrigger/{ns}UserId") == "PC\\Ada"
    trigger = root.find(f".//{ns}LogonTrigger")
    assert trigger is not None
    order = [part.tag.removeprefix(ns) for part in trigger]
    assert order == ["Enabled", "Repetition", "UserId"], "the schema has a sequence here"
    assert int(root.findtext(f".//{ns}RestartOnFailure/{ns}Count") or 0) in range(1, 256)
    assert root.findtext(f".//{ns}MultipleInstancesPolicy") == "IgnoreNew"


def test_windows_starts_the_agent_without_a_window_as_the_user_of_its_domain() -> None:
    start = Start(r"C:\agent\venv\Scripts\python.exe", r"C:\agent", r"C:\agent")
    assert windowless(start).python == r"C:\agent\venv\Scripts\pythonw.exe"
    assert windows_user({"USERDOMAIN": "PC", "USERNAME": "Ada"}) == r"PC\Ada"
    assert windows_user({"USERNAME": "Ada"}) == "Ada"


def test_an_agent_without_a_terminal_writes_into_its_folder(tmp_path: Path) -> None:
    # So does pythonw.exe of Windows: both streams are None.
    code = (
        "import pathlib, sys; sys.stdout = sys.stderr = None\n"
        "from node import __main__ as agent\n"
        f"agent._speak_into(pathlib.Path({str(tmp_path / 'agent.log')!r}))\n"
        "from node.agent import say\n"
        "say('here I am')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=checkout())
    assert (tmp_path / "agent.log").read_text() == "nebula-node: here I am\n"


def test_windows_ends_whole_trees_of_processes() -> None:
    assert end_argv(7, hard=True) == ["taskkill", "/T", "/F", "/PID", "7"]
    assert end_argv(7, hard=False) == ["taskkill", "/T", "/PID", "7"]
    assert options()["creationflags"] == 0x200 | 0x08000000
