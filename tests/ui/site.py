"""The real server in a process of its own, and a way to its people for the tests."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
from sqlalchemy import text, update

from nebula.auth.models import SessionRow
from nebula.auth.principal import Role
from nebula.auth.service import Auth
from nebula.db.engine import Database
from nebula.settings import Settings
from tests.fakes.openai import FakeOpenAI
from tests.fakes.scripted import Policy
from tests.fakes.serve import serve

T = TypeVar("T")

MAP = """\
version: 1
nodes:
  - name: studio
    simulated: true
    time_scale: 0.05
    gpus:
      - {index: 0, name: RTX 3060, vram: 12 GB}
    starts_with: ["llama3.1:8b"]
  - name: attic
    simulated: true
    time_scale: 1
    gpus:
      - {index: 0, name: GTX 1070, vram: 8 GB}
services:
  - name: ollama
    kind: simulated
    node: studio
    models:
      - {name: "llama3.1:8b", vram: 5.5 GB, load_seconds: 6, aliases: [llama]}
  - name: comfyui
    kind: simulated
    node: studio
    vram: 7 GB
    aliases: [Stable Diffusion]
    models:
      - {name: SDXL, vram: 7 GB, load_seconds: 9}
  - name: slow-painter
    kind: simulated
    node: attic
    vram: 6 GB
    models:
      - {name: glacier, vram: 6 GB, load_seconds: 120}
"""


@dataclass(frozen=True)
class Site:
    """A running server."""

    url: str
    database_url: str
    home: Path
    model: FakeOpenAI

    def auth(self, work: Callable[[Auth], Awaitable[T]]) -> T:
        """Do something with the server's people; Playwright has this thread's event loop."""

        async def inner() -> T:
            async with Database(self.database_url) as db:
                settings = Settings(_env_file=None, home=self.home, public_url=self.url)
                return await work(Auth(db, settings))

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(lambda: asyncio.run(inner())).result()

    def person(self, name: str, role: Role = Role.ADMIN, password: str = "") -> str:
        """Make a person and return a one-time link."""

        async def make(auth: Auth) -> str:
            await auth.people.create(name, role, password=password or None)
            return await auth.sign_in_link(name)

        return self.auth(make)

    def token(self, name: str) -> str:
        """Return a session token of a person, as if they had signed in elsewhere."""

        async def make(auth: Auth) -> str:
            user = await auth.people.find(name)
            return (await auth.logins.open(user.id, device="test")).token

        return self.auth(make)

    def long_ago(self, name: str) -> None:
        """Let a person's sign-ins count as an hour old."""

        async def age(auth: Auth) -> None:
            user = await auth.people.find(name)
            async with Database(self.database_url) as db, db.session() as session:
                mine = update(SessionRow).where(SessionRow.user_id == user.id)
                await session.execute(mine.values(proven_at=text("now() - interval '1 hour'")))

        self.auth(age)

    def rest(self, token: str) -> httpx.Client:
        """Return a REST client of a signed-in person."""
        return httpx.Client(
            base_url=self.url,
            cookies={"jarvis_session": token},
            headers={"Origin": self.url},
            timeout=10,
        )

    @contextmanager
    def thinking(self, policy: Policy) -> Iterator[None]:
        """Let a scripted model think while the block runs; else Jarvis is in command mode."""
        self.model.policy = policy
        self._switch("auto")
        try:
            yield
        finally:
            self._switch("command")

    def _switch(self, model: str) -> None:
        with self.rest(self.token("operator")) as rest:
            answer = rest.post("/api/tools/jarvis_switch", json={"model": model})
            assert answer.status_code == 200, answer.text

    def warm_up(self) -> None:
        """Let Jarvis read its tools once, so that no test pays for it."""
        self.person("operator")
        self._switch("command")
        with self.rest(self.token("operator")) as rest:
            headers = {"Accept": "application/json"}
            body = {"message": "what is there"}
            rest.post("/api/jarvis/chat", json=body, headers=headers, timeout=90)


@contextmanager
def running(database_url: str, home: Path) -> Iterator[Site]:
    """Run `ui.server` over a database until the block ends."""
    with (
        _in_thread(FakeOpenAI()) as (model, model_url),
        _served(database_url, home, model_url) as url,
    ):
        site = Site(url, database_url, home, model)
        site.warm_up()
        yield site


@contextmanager
def _in_thread(model: FakeOpenAI) -> Iterator[tuple[FakeOpenAI, str]]:
    """Serve the model on a loop of its own: the browser has this thread's."""
    started: Future[str] = Future()
    stop = threading.Event()

    async def serving() -> None:
        async with serve(model) as url:
            started.set_result(url)
            await asyncio.to_thread(stop.wait)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(lambda: asyncio.run(serving()))
        try:
            yield model, started.result(20)
        finally:
            stop.set()
            done.result(20)


@contextmanager
def _served(database_url: str, home: Path, model_url: str) -> Iterator[str]:
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    (home / "service-map.yml").write_text(MAP, encoding="utf-8")
    environment = {
        **os.environ,
        "JARVIS_HOME": str(home),
        "JARVIS_PORT": str(port),
        "JARVIS_SERVICE_MAP": str(home / "service-map.yml"),
        "DATABASE_URL": database_url,
        "OLLAMA_HOST": "http://127.0.0.1:9",
        "OPENAI_BASE_URL": f"{model_url}/v1",
        "OPENAI_API_KEY": "test",
        "JARVIS_MODEL_SMALL": "openai:gpt-test",
        "JARVIS_MODEL_LARGE": "openai:gpt-test",
        "CHAINLIT_ENV_FILE": str(home / "no.env"),
        "PYTHONPATH": str(Path.cwd()),
    }
    log = home / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.ui.serve"],
            env=environment,
            cwd=home,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            _until_ready(url, process, log)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the server did not start:\n" + log.read_text(errors="replace")[-8000:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
