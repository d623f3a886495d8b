"""Starting the agent with the machine: a systemd unit for Linux, a Task Scheduler task for Windows."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from xml.sax.saxutils import escape

from node.errors import AgentError, Refused

UNIT = "nebula-node.service"
TASK = "NebulaNode"


@dataclass(frozen=True)
class Start:
    """What starts the agent: a Python, the folder that holds `node`, the agent's folder."""

    python: str
    root: str
    home: str


def ours() -> Path:
    """Return the folder that holds the package `node`."""
    return Path(__file__).resolve().parents[1]


def systemd_unit(start: Start, *, system: bool) -> str:
    """Return a unit; `system` = of the machine, else of one user."""
    argv = (start.python, "-m", "node", "run", "--home", start.home)
    words = " ".join(_word(a) for a in argv)
    wants = "network-online.target" if system else "default.target"
    return f"""\
[Unit]
Description=Nebula Command node agent
{f"Wants={wants}" + chr(10) + f"After={wants}" if system else "After=default.target"}
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={words}
WorkingDirectory={start.root.replace("%", "%%")}
Environment={_word("PYTHONPATH=" + start.root)} PYTHONUNBUFFERED=1
Restart=always
RestartSec=2
KillMode=control-group
TimeoutStopSec=30
NoNewPrivileges=yes
UMask=0077

[Install]
WantedBy={"multi-user.target" if system else "default.target"}
"""


def task_xml(start: Start, user: str) -> str:
    """Return a task for `schtasks /Create /XML` (schema 1.2 of Task Scheduler), run at sign-in.

    It is asked for again every five minutes, which does nothing while it runs: a restart on
    failure comes 255 times at most, and not after every kind of end.
    """
    arguments = f'-m node run --home "{start.home}"'
    return f"""\
<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo><Description>Nebula Command node agent</Description></RegistrationInfo>
  <Triggers>
    <LogonTrigger>
      <Enabled>true</Enabled>
      <Repetition><Interval>PT5M</Interval></Repetition>
      <UserId>{escape(user)}</UserId>
    </LogonTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author">
      <UserId>{escape(user)}</UserId>
      <LogonType>InteractiveToken</LogonType>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <StartWhenAvailable>true</StartWhenAvailable>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <Priority>5</Priority>
    <RestartOnFailure><Interval>PT1M</Interval><Count>255</Count></RestartOnFailure>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>{escape(start.python)}</Command>
      <Arguments>{escape(arguments)}</Arguments>
      <WorkingDirectory>{escape(start.root)}</WorkingDirectory>
    </Exec>
  </Actions>
</Task>
"""


def windowless(start: Start) -> Start:
    """Return the same with the Python that opens no window, which somebody would close."""
    file = PureWindowsPath(start.python)
    return replace(start, python=str(file.with_name("pythonw.exe")))


def windows_user(environment: Mapping[str, str]) -> str:
    """Return who signs in, with the domain or machine: names alone are found on this machine only."""
    names = (environment.get("USERDOMAIN", ""), environment.get("USERNAME", ""))
    return "\\".join(name for name in names if name)


def install(home: Path) -> str:
    """Install the auto-start of this system and say what was done (blocking)."""
    start = Start(sys.executable, str(ours()), str(home.resolve()))
    if sys.platform == "win32":  # pragma: no cover - the text it makes is tested
        file = home / f"{TASK}.xml"
        file.write_text(task_xml(windowless(start), windows_user(os.environ)), encoding="utf-16")
        _run(["schtasks", "/Create", "/F", "/TN", TASK, "/XML", str(file)])
        _run(["schtasks", "/Run", "/TN", TASK])
        return f"The task {TASK} starts the agent when you sign in."
    system = os.geteuid() == 0
    folder = Path("/etc/systemd/system" if system else Path.home() / ".config/systemd/user")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / UNIT).write_text(systemd_unit(start, system=system), encoding="utf-8")
    systemctl = ["systemctl"] if system else ["systemctl", "--user"]
    _run([*systemctl, "daemon-reload"])
    _run([*systemctl, "enable", "--now", UNIT])
    if not system:
        _run(["loginctl", "enable-linger"])
    return f"{folder / UNIT} starts the agent with the machine."


def _run(argv: Sequence[str]) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise Refused(f"{argv[0]} could not be run: {error}") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()[:300]
        raise _failed(argv, said)


def _failed(argv: Sequence[str], said: str) -> AgentError:
    return Refused(
        f"{' '.join(argv)} failed: {said}", hint="Start the agent yourself: python -m node run"
    )


def _word(text: str) -> str:
    """Quote one word as systemd.syntax(7) and systemd.unit(5) read it."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{quoted}"'
