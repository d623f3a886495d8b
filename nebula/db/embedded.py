"""PostgreSQL from a wheel, started in the data folder on a private socket.

Processes that share a data folder share its server, and the last one to leave stops it. A server
orphaned by a crash is simply joined.
"""

import hashlib
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import psutil
import psycopg
import structlog
from psycopg import sql

from nebula.db.pg_programs import START_SECONDS, PgPrograms
from nebula.db.shared_folder import SharedFolder
from nebula.db.unprivileged import account_for, let_through
from nebula.errors import Conflict, UpstreamUnavailable

_SUPERUSER = "postgres"
_OWNER = "nebula"
_APP = "jarvis_app"
_DATABASE = "nebula"
_PORT = 5432  # names the socket file only; nothing listens on TCP
_SOCKET_PATH_LIMIT = 107
_LOG_LIMIT = 8 * 1024 * 1024
_SMALL_SHM = 512 * 1024 * 1024

_log = structlog.get_logger(__name__)

_CONF = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "1GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
}


class EmbeddedPostgres:
    """A PostgreSQL server of our own, in `<home>/postgres`."""

    def __init__(self, home: Path, conf: Mapping[str, str] | None = None) -> None:
        """Take the data folder, and server settings that replace the usual ones."""
        self.root = home.resolve() / "postgres"
        self.data = self.root / "data"
        self._conf = {**_CONF, **_shared_memory_conf(), **(conf or {})}
        self._programs = PgPrograms(self.root / "postgres.log")
        self._shared = SharedFolder(self.root)

    @property
    def url(self) -> str:
        """Return the address of the program's database as its owner, who migrates it."""
        return self._url(_OWNER, _DATABASE)

    @property
    def app_url(self) -> str:
        """Return the same as the program's own role, which may not change the audit log."""
        return self._url(_APP, _DATABASE)

    @property
    def admin_url(self) -> str:
        """Return the superuser's address, for making databases and extensions."""
        return self._url(_SUPERUSER, "postgres")

    def start(self) -> str:
        """Start the server, or join the one another process started, and return `url`.

        Raises:
            Conflict: when the data folder was written by another major version.
            UpstreamUnavailable: when the server does not start.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with self._shared.alone():
            self._programs.account = account_for(self.data)
            if self._programs.account is not None:
                let_through(self.data)
                let_through(self._programs.folder / "postgres")
            self._make_socket_folder()
            if not (self.data / "PG_VERSION").exists():
                self._initialise()
            self._check_version()
            if not self.running():
                self._launch()
            self._await_answer()
            self._make_database()
            self._shared.join()
        return self.url

    def stop(self) -> None:
        """Leave the server; the last one to leave stops it."""
        if not self._shared.joined:
            return
        with self._shared.alone():
            if self._shared.leave() and self.running():
                self._programs.control(
                    self.data, "stop", "-m", "fast", "-w", "-t", str(START_SECONDS)
                )
                if self._sockets.parent != self.root:
                    shutil.rmtree(self._sockets, ignore_errors=True)

    def __enter__(self) -> "EmbeddedPostgres":
        """Start or join the server."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the server."""
        self.stop()

    # Folders

    @property
    def _sockets(self) -> Path:
        """The socket's folder: next to the data, or a short path when that one is too long."""
        near = self.root / "run"
        if len(os.fsencode(near / f".s.PGSQL.{_PORT}.lock")) <= _SOCKET_PATH_LIMIT:
            return near
        name = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"nebula-{os.geteuid()}-{name}"

    def _make_socket_folder(self) -> None:
        folder = self._sockets
        folder.mkdir(mode=0o700, exist_ok=True)
        account = self._programs.account
        owners = {os.geteuid(), account.uid if account else os.geteuid()}
        if folder.is_symlink() or folder.stat().st_uid not in owners:
            raise Conflict(f"{folder} belongs to someone else", hint="Remove it, then start again.")
        folder.chmod(0o700)
        self._give(folder)

    def _give(self, path: Path) -> None:
        account = self._programs.account
        if account is not None:
            os.chown(path, account.uid, account.gid)

    # The cluster

    def _initialise(self) -> None:
        if self.data.exists():
            shutil.rmtree(self.data)  # a first start that was cut off: there is no PG_VERSION
        self.data.mkdir(mode=0o700)
        self._give(self.data)
        passwords = {name: secrets.token_urlsafe(24) for name in (_SUPERUSER, _OWNER, _APP)}
        _write_private(self.root / "passwords.json", json.dumps(passwords))
        handed = self.root / "initdb.password"
        _write_private(handed, passwords[_SUPERUSER])
        self._give(handed)
        auth = ["--auth-local=scram-sha-256", "--auth-host=scram-sha-256", f"--pwfile={handed}"]
        place = ["-D", str(self.data), "-U", _SUPERUSER, "-E", "UTF8", "--locale=C.UTF-8"]
        try:
            self._programs.run("initdb", *place, *auth, "--no-instructions")
        finally:
            handed.unlink()

    def _check_version(self) -> None:
        written = (self.data / "PG_VERSION").read_text().strip()
        ours = self._programs.run("postgres", "--version").split()[-1].split(".")[0]
        if written != ours:
            raise Conflict(
                f"{self.data} was written by PostgreSQL {written}, and this program brings {ours}",
                hint="Dump it with the old version and load it into a new data folder "
                "(pg_dump, pg_restore), or set JARVIS_HOME to another folder.",
            )

    def _launch(self) -> None:
        self._clear_stale()
        log = self._programs.log
        if log.exists() and log.stat().st_size > _LOG_LIMIT:
            log.unlink()
        log.touch(mode=0o600)
        self._give(log)
        conf = {**self._conf, "unix_socket_directories": str(self._sockets), "port": str(_PORT)}
        options = " ".join(f"-c {key}='{value}'" for key, value in conf.items())
        self._programs.control(
            self.data, "start", "-l", str(log), "-w", "-t", str(START_SECONDS), "-o", options
        )
        _log.debug("database_started", folder=str(self.data))

    def running(self) -> bool:
        """Say whether a server of this data folder is alive.

        The pid file alone proves nothing: after a crash or a new container another program may
        have the number.
        """
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            process = psutil.Process(pid)
            return process.status() != psutil.STATUS_ZOMBIE and str(self.data) in process.cmdline()
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return False

    def _clear_stale(self) -> None:
        """Remove what a killed server left; only called when none is alive, under the lock."""
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        for leftover in self._sockets.glob(".s.PGSQL.*"):
            leftover.unlink()
        for process in psutil.process_iter(["name"]):
            if process.info["name"] == "postgres" and _works_in(process, self.data):
                _gone(process)  # children of a killed server notice by themselves

    def _await_answer(self) -> None:
        """Wait until the server takes connections: one that we join may still be recovering."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.admin_url, connect_timeout=10).close()
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    raise UpstreamUnavailable(
                        f"The database in {self.root} does not answer",
                        hint=f"Read {self.root / 'postgres.log'}.",
                    ) from error
                time.sleep(0.05)
            else:
                return

    def _make_database(self) -> None:
        """Make the plain roles and the database; a start that was cut off is completed."""
        with psycopg.connect(self.admin_url, autocommit=True, connect_timeout=10) as admin:
            for role in (_OWNER, _APP):
                self._make_role(admin, role)
            made = "SELECT 1 FROM pg_database WHERE datname = %s"
            if admin.execute(made, [_DATABASE]).fetchone():
                return
            # vector needs a superuser; in the template, every later database has it.
            with psycopg.connect(self._url(_SUPERUSER, "template1"), autocommit=True) as template:
                template.execute("CREATE EXTENSION IF NOT EXISTS vector")
            database, owner = sql.Identifier(_DATABASE), sql.Identifier(_OWNER)
            admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, owner))

    def _make_role(self, admin: psycopg.Connection, role: str) -> None:
        passwords = self._passwords()
        known = role in passwords
        if not known:  # a data folder of a version that had fewer roles
            passwords[role] = secrets.token_urlsafe(24)
            _write_private(self.root / "passwords.json", json.dumps(passwords))
        there = admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
        if known and there:
            return
        verb = sql.SQL("ALTER" if there else "CREATE")
        name, password = sql.Identifier(role), sql.Literal(passwords[role])
        admin.execute(sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(verb, name, password))

    # Addresses

    def _passwords(self) -> dict[str, str]:
        read: dict[str, str] = json.loads((self.root / "passwords.json").read_text())
        return read

    def _url(self, user: str, database: str) -> str:
        password = quote(self._passwords()[user], safe="")
        place = quote(str(self._sockets), safe="")
        return f"postgresql://{user}:{password}@/{database}?host={place}&port={_PORT}"


def _shared_memory_conf() -> dict[str, str]:
    """Use files for shared memory where a container gives too little for parallel index builds."""
    shm = Path("/dev/shm")  # noqa: S108 - the size of the mount is read, nothing is written
    if not shm.exists() or shutil.disk_usage(shm).total >= _SMALL_SHM:
        return {}
    return {"dynamic_shared_memory_type": "mmap"}


def _write_private(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return Path(process.cwd()) == folder
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        return False


def _gone(process: psutil.Process) -> None:
    try:
        process.wait(timeout=10)
    except psutil.TimeoutExpired as error:
        raise UpstreamUnavailable(
            f"A process of a killed PostgreSQL (pid {process.pid}) still runs",
            hint=f"End it with 'kill {process.pid}', then start again.",
        ) from error
