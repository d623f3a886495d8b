import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from nebula.settings import Settings
from tests.ui.cli.terminal import Terminal
from ui.cli.up import _listening


@pytest.fixture
def fresh() -> Iterator[Terminal]:
    """Give a terminal over a data folder that nobody has used: its database is embedded."""
    # Not tmp_path: as root, another pytest run closes its parents to the database's account.
    with tempfile.TemporaryDirectory(prefix="nebula-home-") as folder:
        yield Terminal(Path(folder))


@contextmanager
def _up(terminal: Terminal, *options: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Start the server, give its process and the one link, and stop it."""
    with terminal.start("up", "--no-browser", "--port", "0", *options) as server:
        try:
            yield server, _link(server)
        finally:
            if server.poll() is None:
                server.terminate()
                server.communicate(timeout=60)


def _link(server: "subprocess.Popen[str]") -> str:
    said = []
    assert server.stdout is not None
    for line in server.stdout:
        said.append(line)
        if found := re.search(r"Jarvis is ready: (\S+)", line):
            return found[1]
    pytest.fail("it ended: " + "".join(said))


def _get(url: str) -> tuple[int, str]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.status, answer.read().decode()


def _processes_of(home: Path) -> list[str]:
    everything = psutil.process_iter(["cmdline", "status"])
    return [
        " ".join(process.info["cmdline"])
        for process in everything
        if process.info["status"] != psutil.STATUS_ZOMBIE
        and any(str(home) in part for part in process.info["cmdline"] or [])
    ]


@pytest.mark.timeout(240)
def test_one_command_on_a_fresh_folder_serves_talks_and_leaves_nothing_running(
    fresh: Terminal,
) -> None:
    with _up(fresh, "--redis") as (server, link):
        base = link.split("/api/")[0]
        assert "/api/auth/link/" in link, "a fresh folder has nobody who signed in"
        assert _get(f"{base}/healthz")[0] == 200
        ready, body = _get(f"{base}/readyz")
        assert (ready, json.loads(body)["status"]) == (200, "ok")
        second = fresh.run("up", "--port", "0")
        assert second.returncode == 6
        assert "already runs" in second.stderr
        assert fresh.run("user", "link", "admin").stdout.startswith(f"{base}/api/auth/link/")
        talked = fresh.run("chat", "check GPU status")
        assert talked.returncode == 0, talked.stderr
        assert "gpu_status" in talked.stdout
        assert json.loads(fresh.run("key", "list", "--json").stdout) == [], "its key is gone"
        server.send_signal(signal.SIGTERM)
        rest, _ = server.communicate(timeout=60)
        assert server.returncode == 0
        assert "Stopped." in rest
    assert not (fresh.home / "server.json").exists()
    assert _processes_of(fresh.home) == []


def test_a_taken_port_is_named_before_anything_starts(fresh: Terminal) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ended = fresh.run("up", "--port", str(other.getsockname()[1]))
    assert ended.returncode == 6
    assert "taken" in ended.stderr
    assert "--port" in ended.stderr
    assert not (fresh.home / "postgres").exists()


@pytest.mark.parametrize(("host", "port"), [("198.51.100.7", "0"), ("127.0.0.1", "70000")])
def test_an_address_that_cannot_be_bound_is_said_so(fresh: Terminal, host: str, port: str) -> None:
    ended = fresh.run("up", "--host", host, "--port", port)
    assert ended.returncode == 2
    assert ended.stderr.startswith("jarvis: ")


def test_a_beacon_of_a_dead_server_is_not_believed(fresh: Terminal) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    for pid in (gone.pid, os.getpid()):
        beacon = {"pid": pid, "url": "http://127.0.0.1:1"}
        (fresh.home / "server.json").write_text(json.dumps(beacon))
        checks = json.loads(fresh.run("doctor", "--json").stdout)
        assert "server" not in [check["name"] for check in checks]


def test_the_port_says_that_it_is_tcp_or_each_answer_would_wait_for_forty_milliseconds() -> None:
    with _listening(Settings(_env_file=None, port=0)) as taken:
        assert taken.proto == socket.IPPROTO_TCP
