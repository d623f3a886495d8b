"""What starts the agent with a machine, by the text that is generated."""

import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from node.autostart import Start, systemd_unit, task_xml
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


def test_windows_ends_whole_trees_of_processes() -> None:
    assert end_argv(7, hard=True) == ["taskkill", "/T", "/F", "/PID", "7"]
    assert end_argv(7, hard=False) == ["taskkill", "/T", "/PID", "7"]
    assert options()["creationflags"] == 0x200 | 0x08000000
