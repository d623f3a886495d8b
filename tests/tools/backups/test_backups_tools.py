"""backups_list: says when there is none, when it is old, and when it cannot be read."""

import gzip
import io
import os
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from nebula.app import App
from nebula.auth.principal import Caller, Principal, Surface
from nebula.errors import PermissionDenied
from nebula.tool.render import to_markdown
from tools.backups.reading import problem_of
from tools.backups.schemas import BackupList
from tools.backups.settings import BackupsSettings

DUMP = b"-- PostgreSQL database dump\n" + b"SELECT 1;\n" * 9_000
END = b"--\n-- PostgreSQL database dump complete\n--\n"


def archive() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as packed:
        info = tarfile.TarInfo("secrets.key")
        info.size = 9
        packed.addfile(info, io.BytesIO(b"x" * 9))
    return made.getvalue()


def zipped(name: str = "a") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as packed:
        packed.writestr(name, "some text " * 50)
    return made.getvalue()


READ: list[tuple[str, bytes, str]] = [
    ("a.sql", DUMP + END, ""),
    ("a.sql", DUMP, "ends too early"),
    ("a.sql.gz", gzip.compress(DUMP + END), ""),
    ("a.sql.gz", gzip.compress(DUMP + END)[:-20], "cannot be read: EOFError"),
    ("a.sql.gz", gzip.compress(DUMP), "ends too early"),
    ("a.sql.gz", b"no gzip at all", "cannot be read: BadGzipFile"),
    ("a.dump", b"PGDMP" + b"\0" * 99, ""),
    ("a.dump", b"something else", "no dump of pg_dump"),
    ("a.tar.gz", archive(), ""),
    ("a.tgz", archive(), ""),
    ("a.tgz", archive()[:-9], "cannot be read"),
    ("a.zip", zipped(), ""),
    ("a.zip", zipped().replace(b"some text", b"same text", 1), "is damaged"),
    ("a.bin", b"", "it is empty"),
    ("a.bin", b"who knows", ""),
]


# Archives hold the time at which they were made, so that their bytes are no names of tests.
@pytest.mark.parametrize(("name", "content", "problem"), READ, ids=range(len(READ)))
def test_a_backup_is_read_from_end_to_end(
    tmp_path: Path, name: str, content: bytes, problem: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    found = problem_of(path)
    assert problem in found
    assert bool(found) == bool(problem)


def test_a_copy_of_the_data_folder_needs_its_key(tmp_path: Path) -> None:
    assert problem_of(tmp_path) == "it is empty"
    (tmp_path / "postgres").mkdir()
    assert "secrets.key" in problem_of(tmp_path)
    (tmp_path / "secrets.key").write_bytes(b"k" * 44)
    assert problem_of(tmp_path) == ""


@pytest.fixture
def look(app: App, viewer: Principal, monkeypatch: pytest.MonkeyPatch) -> Any:
    calls = iter(range(100))

    async def look(folder: Path | None, **arguments: Any) -> BackupList:
        app.parts._feature_settings[BackupsSettings] = BackupsSettings(
            _env_file=None, folder=folder
        )
        made = await app.executor.execute(
            "backups_list",
            arguments,
            caller=Caller(viewer, Surface.REST),
            call_id=f"look-{next(calls)}",
        )
        assert isinstance(made, BackupList)
        return made

    return look


async def test_backups_list_says_what_is_wrong_and_nothing_when_all_is_well(
    look: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    assert "make a backup" in (await look(None)).problem
    assert "cannot be read" in (await look(folder)).problem
    folder.mkdir()
    assert (await look(folder)).problem == "There is no backup in the backup folder."
    old, new = folder / "old.sql.gz", folder / "new.sql.gz"
    old.write_bytes(gzip.compress(DUMP + END))
    past = time.time() - 30 * 3600
    os.utime(old, (past, past))
    assert (await look(folder)).problem == "The newest backup, old.sql.gz, is 30 hours old."
    new.write_bytes(gzip.compress(DUMP))
    broken = await look(folder)
    assert broken.problem == "The newest backup, new.sql.gz, is broken: the dump ends too early."
    assert [(b.name, b.whole) for b in broken.backups] == [
        ("new.sql.gz", False),
        ("old.sql.gz", None),
    ]
    assert (await look(folder, verify=False)).problem == ""
    new.write_bytes(gzip.compress(DUMP + END))
    (folder / ".hidden").write_text("x")
    (folder / "link").symlink_to(new)
    well = await look(folder)
    assert (well.problem, len(well.backups)) == ("", 2)
    said = to_markdown(well.render())
    assert "fresh and can be read" in said and "new.sql.gz" in said.replace("\\", "")


async def test_who_may_see_nothing_sees_no_backups(app: App, client: Principal) -> None:
    with pytest.raises(PermissionDenied):
        await app.executor.execute(
            "backups_list", {}, caller=Caller(client, Surface.REST), call_id="x"
        )
