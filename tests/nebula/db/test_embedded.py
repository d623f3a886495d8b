import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from nebula.db.embedded import EmbeddedPostgres
from nebula.db.engine import Database
from nebula.db.open import database_addresses
from nebula.errors import Conflict, NebulaError, UpstreamUnavailable
from nebula.settings import Settings

_FAST = {"fsync": "off"}


@pytest.fixture
def home() -> Iterator[Path]:
    # Not tmp_path: as root, another pytest run closes its parents to the database's account.
    with tempfile.TemporaryDirectory(prefix="nebula-home-") as folder:
        yield Path(folder)
        for process in psutil.process_iter(["cmdline"]):
            if any(folder in part for part in process.info["cmdline"] or []):
                process.send_signal(signal.SIGQUIT)
                process.wait(10)


def _postmaster(home: Path) -> int:
    return int((home / "postgres/data/postmaster.pid").read_text().splitlines()[0])


def _alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def _answers(url: str) -> bool:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)


def test_it_starts_with_vectors_and_a_plain_role_and_stops(home: Path) -> None:
    with EmbeddedPostgres(home, _FAST) as server, psycopg.connect(server.url) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        assert connection.execute("SELECT '[1,2]'::vector <-> '[1,3]'").fetchone() == (1.0,)
        role = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        assert role.fetchone() == (False,)
        pid = _postmaster(home)
    assert not _alive(pid)


def test_a_data_folder_from_before_gets_the_program_s_own_role(home: Path) -> None:
    with EmbeddedPostgres(home, _FAST) as server:
        with psycopg.connect(server.admin_url, autocommit=True) as admin:
            admin.execute("DROP ROLE jarvis_app")
        kept = home / "postgres/passwords.json"
        before = json.loads(kept.read_text())
        kept.write_text(json.dumps({n: before[n] for n in ("postgres", "nebula")}))
    with EmbeddedPostgres(home, _FAST) as server:
        assert _answers(server.app_url) and _answers(server.url)
        assert kept.stat().st_mode & 0o077 == 0
        with psycopg.connect(server.app_url) as app:
            role = app.execute(
                "SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
            )
            assert role.fetchone() == (False, False, False)


def test_nobody_gets_in_without_the_password(home: Path) -> None:
    with EmbeddedPostgres(home, _FAST) as server:
        wrong = psycopg.conninfo.make_conninfo(server.url, password="wrong")
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(wrong)
        assert (home / "postgres/passwords.json").stat().st_mode & 0o077 == 0


def test_a_second_process_joins_the_server_and_the_last_one_stops_it(home: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from nebula.db.embedded import EmbeddedPostgres\n"
        "server = EmbeddedPostgres(Path(sys.argv[1])); server.start(); print('in', flush=True)\n"
        "sys.stdin.read(); server.stop()"
    )
    server = EmbeddedPostgres(home, _FAST)
    url = server.start()
    pid = _postmaster(home)
    command = [sys.executable, "-c", program, str(home)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdin is not None
        assert "in\n" in iter(other.stdout.readline, "")
        assert _postmaster(home) == pid
        server.stop()
        assert _answers(url), "the other process still uses it"
        other.stdin.close()
        other.wait(30)
    assert not _alive(pid)


def test_saved_rows_survive_a_killed_server_and_the_next_start_works(home: Path) -> None:
    server = EmbeddedPostgres(home)
    with psycopg.connect(server.start()) as connection:
        connection.execute("CREATE TABLE t AS SELECT 42 AS n")
    killed = psutil.Process(_postmaster(home))
    killed.kill()
    killed.wait(10)
    assert (home / "postgres/data/postmaster.pid").exists()
    server.stop()
    with (
        EmbeddedPostgres(home) as again,
        psycopg.connect(again.url) as connection,
    ):
        assert connection.execute("SELECT n FROM t").fetchone() == (42,)


def test_a_pid_file_that_names_another_program_does_not_count_as_running(home: Path) -> None:
    with EmbeddedPostgres(home, _FAST):
        pass
    (home / "postgres/data/postmaster.pid").write_text(f"{os.getpid()}\n")
    with EmbeddedPostgres(home, _FAST) as server:
        assert _answers(server.url)
        assert _postmaster(home) != os.getpid()


def test_a_server_left_behind_by_a_killed_program_is_joined_and_stopped(home: Path) -> None:
    left = EmbeddedPostgres(home, _FAST)
    left.start()
    pid = _postmaster(home)
    assert left._shared._share is not None
    os.close(left._shared._share)  # what the kernel does when a program is killed
    left._shared._share = None
    with EmbeddedPostgres(home, _FAST) as server:
        assert _postmaster(home) == pid
        assert _answers(server.url)
    assert not _alive(pid)


def test_a_very_long_data_folder_gets_its_socket_somewhere_short(home: Path) -> None:
    deep = home / ("d" * 90) / ("e" * 90)
    with EmbeddedPostgres(deep, _FAST) as server:
        assert _answers(server.url)
        assert str(deep) not in server.url


def test_data_of_another_major_version_is_refused_with_the_way_out(home: Path) -> None:
    with EmbeddedPostgres(home, _FAST):
        pass
    (home / "postgres/data/PG_VERSION").write_text("14\n")
    with pytest.raises(Conflict, match="PostgreSQL 14") as caught:
        EmbeddedPostgres(home, _FAST).start()
    assert "pg_dump" in caught.value.hint


def test_a_first_start_that_was_cut_off_is_done_again(home: Path) -> None:
    (home / "postgres/data").mkdir(parents=True)
    (home / "postgres/data/half").write_text("written")
    with EmbeddedPostgres(home, _FAST) as server:
        assert _answers(server.url)


def test_a_server_that_cannot_start_says_what_it_said(home: Path) -> None:
    with pytest.raises(UpstreamUnavailable, match="pg_ctl"):
        EmbeddedPostgres(home, {"shared_buffers": "nonsense"}).start()


async def test_a_server_that_dies_while_it_is_used_is_started_again(home: Path) -> None:
    settings = Settings(_env_file=None, home=home)
    async with database_addresses(settings) as found, Database(found.app) as database:
        killed = psutil.Process(_postmaster(home))
        killed.kill()
        killed.wait(10)
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(NebulaError):
                    await database.ping()
                    break
                await asyncio.sleep(0.1)
        assert _postmaster(home) != killed.pid
