"""P9: how soon one can work: `jarvis --help`, the server ready, the first chat answer.

Run: python -m benchmarks.p9

Real processes on a fresh data folder, packages cached, no model. The first answer is to "check
GPU status" over `POST /api/jarvis/chat` with a key, counted from the start of `jarvis up`: it
includes making the embedded database. Peer: `chainlit run` with an empty app, until it serves.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx

ROOT = Path(__file__).parent.parent
RUNS = 3
_LIMIT = 60.0
_CLI = [sys.executable, "-c", "from ui.cli.main import main; main()"]


def main() -> None:
    """Measure each and print the medians beside the goals."""
    started = [start() for _ in range(RUNS)]
    rows = [
        ("jarvis --help", statistics.median(seconds_of_help() for _ in range(5)), 0.5),
        ("server ready, fresh folder", statistics.median(ready for ready, _ in started), 8.0),
        ("first chat answer, fresh folder", statistics.median(said for _, said in started), 10.0),
    ]
    peer = statistics.median(chainlit_alone() for _ in range(RUNS))
    print(f"{'what':34} {'seconds':>8} {'goal':>6}  {'÷ Chainlit alone':>16}")
    for name, seconds, goal in rows:
        print(f"{name:34} {seconds:8.2f} {goal:6.1f}  {seconds / peer:16.2f}")
    print(f"{'peer: Chainlit alone, serving':34} {peer:8.2f}")


def seconds_of_help() -> float:
    """Time one `jarvis --help`."""
    began = time.perf_counter()
    subprocess.run([*_CLI, "--help"], check=True, capture_output=True, cwd=ROOT)
    return time.perf_counter() - began


def start() -> tuple[float, float]:
    """Start `jarvis up` on a fresh folder; return seconds until ready, and until an answer."""
    with tempfile.TemporaryDirectory(prefix="p9-") as folder:
        port = free_port()
        env = _environment(Path(folder), port)
        began = time.perf_counter()
        server = subprocess.Popen(
            [*_CLI, "up"], cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _until(f"http://127.0.0.1:{port}/readyz", server)
            ready = time.perf_counter() - began
            made = _key(env)
            asked = time.perf_counter()
            _ask(port, made)
            return ready, ready + time.perf_counter() - asked
        finally:
            server.terminate()
            server.wait(20)


def _key(env: dict[str, str]) -> str:
    """Make an API key beside the running server; its time is the benchmark's own."""
    made = subprocess.run(
        [*_CLI, "key", "create", "--role", "admin", "--name", "p9", "--json"],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=env,
    )
    return str(json.loads(made.stdout)["key"])


def _ask(port: int, key: str) -> None:
    answer = httpx.post(
        f"http://127.0.0.1:{port}/api/jarvis/chat",
        json={"message": "check GPU status"},
        headers={"Authorization": f"Bearer {key}", "Accept": "application/json"},
        timeout=_LIMIT,
    )
    answer.raise_for_status()
    if "simulated" not in answer.text and "GPU" not in answer.text:
        raise SystemExit(f"not an answer: {answer.text[:300]}")


def chainlit_alone() -> float:
    """Time Chainlit with an empty app until it serves a page."""
    with tempfile.TemporaryDirectory(prefix="p9-") as folder:
        app, port = Path(folder) / "app.py", free_port()
        app.write_text("import chainlit as cl\n\n@cl.on_message\nasync def on(m): pass\n")
        command = [sys.executable, "-m", "chainlit", "run", str(app), "-h", "--port", str(port)]
        env = {**_environment(Path(folder), port), "CHAINLIT_APP_ROOT": folder}
        began = time.perf_counter()
        server = subprocess.Popen(
            command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _until(f"http://127.0.0.1:{port}/", server)
            return time.perf_counter() - began
        finally:
            server.terminate()
            server.wait(20)


def _until(url: str, server: "subprocess.Popen[bytes]") -> None:
    _wait(lambda: server.poll() is None, lambda: httpx.get(url, timeout=2).status_code == 200)


def _wait(alive: Callable[[], bool], done: Callable[[], bool]) -> None:
    limit = time.monotonic() + _LIMIT
    while time.monotonic() < limit:
        if not alive():
            raise SystemExit("the server ended")
        try:
            if done():
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.02)
    raise SystemExit(f"not ready within {_LIMIT:g} s")


def _environment(home: Path, port: int) -> dict[str, str]:
    ours = ("JARVIS_", "OLLAMA_", "OPENAI_", "DATABASE_", "REDIS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "JARVIS_HOME": str(home / "home"),
        "JARVIS_PORT": str(port),
    }


def free_port() -> int:
    """Return a port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
