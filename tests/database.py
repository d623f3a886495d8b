"""One embedded PostgreSQL for a whole test run, a migrated template, and a clone per test."""

import asyncio
import fcntl
import gc
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql
from sqlalchemy import make_url

from nebula.db.embedded import EmbeddedPostgres
from nebula.db.engine import Database
from nebula.db.migrate import migrate
from nebula.llm.embedding import Embedder
from nebula.tool.registry import Registry
from nebula.tool.retrieval import ToolIndex

_TEMPLATE = "nebula_template"
_ROOM = 2 * 1024**3
_FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "autovacuum": "off",
    "max_wal_size": "128MB",
    "min_wal_size": "32MB",
    "authentication_timeout": "5s",
}


class _Remembering(Embedder):
    """Keeps big batches of vectors between runs: the catalogue's take seconds to compute."""

    async def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        key = hashlib.sha256("\n".join([self.name, *texts]).encode()).hexdigest()
        kept = Path(tempfile.gettempdir()) / f"nebula-test-vectors-{os.geteuid()}-{key[:32]}.npy"
        if kept.exists():
            known: npt.NDArray[np.float32] = np.load(kept)
            return known
        vectors = await super().embed(texts)
        draft = kept.with_suffix(f".{uuid.uuid4().hex}.npy")
        np.save(draft, vectors)
        draft.replace(kept)
        return vectors


def folder_of(run: str) -> Path:
    """Return the folder that every worker of one test run shares.

    In memory where there is room: a clone takes up to a second on a slow disk, and 30 ms there.
    """
    disk, memory = Path(tempfile.gettempdir()), Path("/dev/shm")
    name = f"nebula-tests-{os.geteuid()}-{run[:12]}"
    for place in (memory, disk):
        if (place / name).exists():
            return place / name
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ROOM
    return (memory if roomy else disk) / name


async def _filled(address: str, app: str) -> None:
    """Migrate, and keep the vectors of the real tools: making them takes seconds of every core."""
    await migrate(address, app=app)
    async with Database(address) as database:
        await ToolIndex(Registry.discover("tools", "graphs"), _Remembering(), database).warm()


class TestServer:
    """The run's server, joined by each worker; the last one to leave stops it."""

    __test__ = False

    def __init__(self, run: str) -> None:
        self.home = folder_of(run)
        self.home.mkdir(mode=0o711, exist_ok=True)
        self._server = EmbeddedPostgres(self.home, _FAST)

    def __enter__(self) -> "TestServer":
        self._server.start()
        self._admin = psycopg.connect(self._server.admin_url, autocommit=True)
        with self._alone():
            if not self._has(_TEMPLATE):
                self._make_template()
        return self

    def __exit__(self, *_: object) -> None:
        self._admin.close()
        self._server.stop()

    @contextmanager
    def clone(self) -> Iterator[str]:
        """Give the address of a fresh migrated database, dropped afterwards."""
        with self._fresh(_TEMPLATE) as url:
            yield url

    @contextmanager
    def empty(self) -> Iterator[str]:
        """Give the address of a fresh database without any table, dropped afterwards."""
        with self._fresh("template1") as url:
            yield url

    @contextmanager
    def _fresh(self, template: str) -> Iterator[str]:
        name = f"test_{uuid.uuid4().hex}"
        self._create(name, template)
        try:
            yield self._address(name)
        finally:
            self._drop(name)

    def _drop(self, name: str) -> None:
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
        try:
            self._admin.execute("SET statement_timeout = '1s'")
            self._admin.execute(drop)
        except psycopg.errors.QueryCanceled:
            # The server waits for a connection that a cancelled task began and never finished.
            gc.collect()
            self._admin.execute("SET statement_timeout = 0")
            self._admin.execute(drop)
        finally:
            self._admin.execute("SET statement_timeout = 0")

    def _make_template(self) -> None:
        building = f"{_TEMPLATE}_building"
        self._admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(building)))
        self._create(building, "template1")
        asyncio.run(_filled(self._address(building), self.as_app(self._address(building))))
        rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
        self._admin.execute(rename.format(sql.Identifier(building), sql.Identifier(_TEMPLATE)))

    def _create(self, name: str, template: str) -> None:
        command = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER nebula STRATEGY file_copy")
        self._admin.execute(command.format(sql.Identifier(name), sql.Identifier(template)))

    def _has(self, name: str) -> bool:
        found = self._admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        return found.fetchone() is not None

    def as_app(self, url: str) -> str:
        """Return a database's address as the role that the program works as."""
        app = make_url(self._server.app_url).set(database=make_url(url).database)
        return app.render_as_string(hide_password=False)

    def _address(self, name: str) -> str:
        return make_url(self._server.url).set(database=name).render_as_string(hide_password=False)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self.home / "template.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def remove(run: str) -> None:
    """Delete what a run left; called when all its workers are gone."""
    shutil.rmtree(folder_of(run), ignore_errors=True)
