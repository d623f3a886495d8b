"""A real agent process, to be started, stopped, frozen and killed."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

from nebula.packages import checkout
from node.config import Home, Identity
from node.protocol import digest
from tests.fakes.control import FakeControl

SECONDS = 20.0


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


async def until(true: Callable[[], Any], *, seconds: float = SECONDS, what: str = "") -> Any:
    """Wait for something that another process does."""
    give_up = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < give_up, f"not within {seconds:g} s: {what or true}"
        await asyncio.sleep(0.01)
    return found


def alive(pid: int) -> bool:
    """Say whether a process is there and not just waiting to be buried."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


class AgentProcess:
    """One agent with a folder of its own."""

    def __init__(self, home: Path, control: str, *, name: str = "pc", python: str = "") -> None:
        self.home = home
        self.control = control
        self.name = name
        self.port = free_port()
        self.python = python or sys.executable
        self.process: subprocess.Popen[bytes] | None = None
        self.key = ""
        home.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def join(self, token: str = "good", *more: str) -> tuple[int, str]:
        """Run `join` and return its code and what it said."""
        argv = ["join", self.control, token, "--name", self.name, "--port", str(self.port), *more]
        done = await asyncio.create_subprocess_exec(
            *self._argv(*argv),
            cwd=checkout(),
            env=self._env(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await done.communicate()
        assert done.returncode is not None
        return done.returncode, said.decode()

    def belong(self, control: FakeControl) -> None:
        """Write what joining would have written, in a fraction of the time."""
        self.key = control.key
        Home(self.home).keep(
            Identity(
                name=self.name,
                control=self.control,
                secret=control.secret,
                key_digest=digest(control.key),
                bind="127.0.0.1",
                port=self.port,
                url=self.url,
            )
        )

    def allow(self, **commands: dict[str, Any]) -> None:
        """Write the owner's allow-list."""
        self.configure(commands=commands)

    def configure(self, **config: Any) -> None:
        (self.home / "config.yml").write_text(json.dumps(config))

    def insert_card(self, total: int, used: int = 0) -> None:
        """Give the machine a graphics card, for the processes that are started from now on."""
        (self.home / "cards.json").write_text(json.dumps([{"total": total, "used": used}]))

    async def start(self) -> None:
        """Run the agent until its doors answer."""
        log = (self.home / "agent.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                self._argv("run"), cwd=checkout(), env=self._env(), stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        await until(self._answers, what="the agent's doors")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.home / "agent.log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
            self.process.wait(10)

    async def stop(self) -> int:
        """End it as the system does."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, 30)

    async def ask(
        self, method: str, path: str, body: Any = None, *, key: str | None = None
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key if key is None else key}"}
        async with httpx.AsyncClient(base_url=self.url, timeout=40, trust_env=False) as http:
            return await http.request(method, path, json=body, headers=headers)

    async def task(self, task_id: str, command: str = "sleep", **more: Any) -> httpx.Response:
        return await self.ask("POST", "/v1/tasks", {"task_id": task_id, "command": command, **more})

    async def view(self, task_id: str, after: int = 0, wait: float = 0) -> Any:
        answer = await self.ask("GET", f"/v1/tasks/{task_id}?after={after}&wait={wait}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ended(self, task_id: str, seconds: float = SECONDS) -> Any:
        """Wait for a task's end and return its report."""
        give_up = time.monotonic() + seconds
        while True:
            task = (await self.view(task_id))["task"]
            if task["state"] not in {"starting", "running"}:
                return task
            assert time.monotonic() < give_up, task
            await asyncio.sleep(0.02)

    def journal(self, *events: str) -> list[dict[str, Any]]:
        lines = [json.loads(x) for x in (self.home / "journal.jsonl").read_text().splitlines()]
        return [line for line in lines if not events or line["event"] in events]

    def pid_of(self, task_id: str) -> int:
        return int(next(x["pid"] for x in self.journal("started") if x["task"] == task_id))

    def _argv(self, command: str, *more: str) -> list[str]:
        return [self.python, "-m", "node", command, *more, "--home", str(self.home)]

    def _env(self) -> dict[str, str]:
        root = checkout()
        cards = self.home / "cards.json"
        path = [str(root / "tests/fakes/nvml_module")] if cards.exists() else []
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*path, str(root)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "FAKE_NVML_CARDS": str(cards),
        }
