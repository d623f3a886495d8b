"""What P4 and R3 share: a database server, worker processes, and both queues behind one face."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import psycopg

from benchmarks.job_tools import registry
from benchmarks.job_worker import plain
from nebula.app import App, open_app
from nebula.auth.principal import Caller, Role, Surface
from nebula.db.embedded import EmbeddedPostgres
from nebula.packages import checkout
from nebula.settings import Settings


class Queue(Protocol):
    """A job queue under test."""

    name: str

    async def nap(self, number: int, seconds: float) -> None:
        """Submit a job that sleeps."""
        ...

    async def act(self, number: int, kind: str) -> None:
        """Submit a job with an effect outside."""
        ...

    async def counts(self) -> dict[str, int]:
        """Count the jobs by state."""
        ...


class Ours:
    """The product: calls of background tools, through the executor."""

    name = "ours"

    def __init__(self, app: App, caller: Caller) -> None:
        self.app = app
        self.caller = caller

    async def _call(self, tool: str, number: int, **more: Any) -> None:
        await self.app.executor.execute(
            tool, {"name": f"{number}", **more}, caller=self.caller, call_id=f"{tool}-{number}"
        )

    async def nap(self, number: int, seconds: float) -> None:
        await self._call("bench_nap", number, seconds=seconds)

    async def act(self, number: int, kind: str) -> None:
        await self._call(f"bench_{kind}", number)

    async def counts(self) -> dict[str, int]:
        return await _counted(self.app.parts.db.conninfo, "SELECT state, count(*) FROM jobs")


class Plain:
    """Procrastinate alone."""

    name = "procrastinate"

    def __init__(self, app: Any, conninfo: str) -> None:
        self.app = app
        self._conninfo = conninfo

    async def nap(self, number: int, seconds: float) -> None:
        await self.app.configure_task("nap").defer_async(seconds=seconds)

    async def act(self, number: int, kind: str) -> None:
        key = f"{number}" if kind == "keyed" else None
        await self.app.configure_task("act").defer_async(key=key)

    async def counts(self) -> dict[str, int]:
        found = await _counted(
            self._conninfo, "SELECT status::text, count(*) FROM procrastinate_jobs"
        )
        names = {"todo": "queued", "doing": "running"}
        return {names.get(state, state): count for state, count in found.items()}


async def _counted(conninfo: str, query: str) -> dict[str, int]:
    async with await psycopg.AsyncConnection.connect(conninfo) as connection:
        rows = await (await connection.execute(query.encode() + b" GROUP BY 1")).fetchall()
    return {str(state): int(count) for state, count in rows}


@contextmanager
def server() -> Iterator[tuple[EmbeddedPostgres, Path]]:
    """Start a database server as the product has it, durable."""
    with (
        tempfile.TemporaryDirectory(prefix="nebula-bench-") as home,
        EmbeddedPostgres(Path(home)) as running,
    ):
        yield running, Path(home)


@asynccontextmanager
async def queue(name: str, url: str, home: Path) -> AsyncIterator[Any]:
    """Open one of the queues over a database, as a client that submits."""
    if name == "procrastinate":
        app = plain(url)
        async with app.open_async():
            await app.schema_manager.apply_schema_async()
            yield Plain(app, url)
        return
    settings = Settings(
        _env_file=None,
        home=home,
        database_url=url,
        warm_start=False,
        workers=0,
        max_effects_per_minute=1_000_000,
    )
    async with open_app(settings, registry=registry()) as opened:
        ada = await opened.parts.auth.create_user("ada", Role.ADMIN)
        yield Ours(opened, Caller(ada, Surface.REST))


class Fleet:
    """Worker processes of one queue."""

    def __init__(self, name: str, url: str, home: Path, **more: str) -> None:
        self._name = name
        self._environment = {
            **{k: v for k, v in os.environ.items() if k in {"PATH", "HOME"}},
            "PYTHONPATH": str(checkout()),
            "DATABASE_URL": url,
            "JARVIS_HOME": str(home),
            "OMP_NUM_THREADS": "1",
            **more,
        }
        self.processes: list[subprocess.Popen[str]] = []

    async def start(self, count: int, **more: str) -> None:
        """Start workers and wait until they take jobs."""
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.job_worker", self._name],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**self._environment, **more},
            )
            for _ in range(count)
        ]
        self.processes += started
        for process in started:
            assert process.stdout is not None
            await asyncio.to_thread(process.stdout.readline)

    def kill(self, processes: "list[subprocess.Popen[str]] | None" = None) -> None:
        """Kill workers, all of them if none are named."""
        for process in self.processes if processes is None else processes:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        if processes is None:
            self.processes.clear()
