"""A backup of a used installation, put back elsewhere; and those that must not be put back."""

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from nebula.app import App, open_app
from nebula.auth.principal import Caller, Principal, Surface
from nebula.errors import Conflict, InvalidInput, Paused, PermissionDenied, UpstreamUnavailable
from nebula.jobs.job import JobHandle
from nebula.jobs.worker import open_worker
from nebula.secrets.vault import Vault
from nebula.settings import Settings
from nebula.tool.audit.anchoring import Anchoring
from nebula.tool.audit.verify import verify
from tests.database import TestServer
from tests.ui.cli.terminal import Terminal
from tools.backups.archive import MANIFEST, Manifest, Writer, check, fingerprint_of, is_ours
from tools.backups.making import make, thinned
from tools.backups.reading import problem_of
from tools.backups.restoring import plan, restore
from tools.backups.settings import BackupsSettings

VALUE = "sk-a-value-nobody-guesses"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backups"


@pytest.fixture
def elsewhere(settings: Settings, postgres: TestServer, tmp_path: Path) -> Iterator[Settings]:
    """Another machine: an empty database and a fresh data folder."""
    with postgres.empty() as url:
        home = tmp_path / "there" / "home"
        yield settings.model_copy(
            update={
                "home": home,
                "database_url": postgres.as_app(url),
                "database_owner_url": url,
                "service_map": tmp_path / "there" / "service-map.yml",
                "policy": tmp_path / "there" / "policy.yml",
            }
        )


@pytest.fixture(autouse=True)
def _in_a_folder_without_env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


async def quiet(fraction: float, message: str) -> None:
    """Tell nobody."""


@asynccontextmanager
async def used(app: App, who: Principal) -> AsyncIterator[None]:
    """Use an installation: a secret, files, anchors on both sides of the log's lines."""
    home = app.parts.settings.home
    (home / "inbox" / "deep").mkdir(parents=True)
    (home / "inbox" / "deep" / "a.md").write_text("# words")
    (home / "inbox" / "link").symlink_to("/etc/passwd")
    os.mkfifo(home / "inbox" / "pipe")
    (home / "postgres").mkdir()
    (home / "postgres" / "data").write_text("not this way")
    app.parts.settings.service_map.write_text("nodes: []\n")
    await app.parts.secrets.put("openai", VALUE, by=who.name)
    anchors = Anchoring(app.parts.db, app.parts.audit, app.parts.settings)
    await app.executor.execute("backups_list", {}, caller=Caller(who, Surface.REST), call_id="l")
    await anchors.anchor()
    await app.executor.execute("users_list", {}, caller=Caller(who, Surface.REST), call_id="u")
    await anchors.anchor()
    yield


async def backed_up(app: App, who: Principal, folder: Path | None) -> Path:
    """Make a backup as a person does: the tool, a job, a worker."""
    own = BackupsSettings(_env_file=None, folder=folder)
    app.parts._feature_settings[BackupsSettings] = own
    async with used(app, who), open_worker(app, 1):
        handle = await app.executor.execute(
            "backups_create", {}, caller=Caller(who, Surface.REST), call_id="b"
        )
        assert isinstance(handle, JobHandle)
        job = await app.parts.jobs.wait(handle.job_id, who, 60)
    assert job.error is None and job.result is not None
    assert job.result["same_disk"]
    return own.place(app.parts.settings.home) / job.result["name"]


@pytest.mark.timeout(180)
async def test_what_was_backed_up_works_elsewhere(
    app: App, admin: Principal, elsewhere: Settings
) -> None:
    made = await backed_up(app, admin, None)
    assert made.stat().st_mode & 0o777 == 0o600 and list(made.parent.iterdir()) == [made]
    assert made.parent == app.parts.settings.home / "backups"
    path = elsewhere.home / "backups" / made.name
    path.parent.mkdir(parents=True)
    shutil.copyfile(made, path)
    assert problem_of(path) == "" and is_ours(path)

    planned = await plan(elsewhere, path)
    assert planned.there == [], "the backups themselves are not in the way"
    done = await restore(elsewhere, planned)

    assert path.exists() and done.aside == ""
    assert done.problems == [] and done.secrets >= 1
    home = elsewhere.home
    assert (home / "inbox" / "deep" / "a.md").read_text() == "# words"
    assert {each.name for each in home.iterdir()} >= {"inbox", "secrets.key", "audit-anchors.jsonl"}
    assert not (home / "inbox" / "link").exists() and not (home / "postgres").exists()
    assert (home / "secrets.key").stat().st_mode & 0o777 == 0o600
    assert elsewhere.service_map.read_text() == "nodes: []\n"
    async with open_app(elsewhere) as there:
        secret = await there.parts.secrets.get("openai")
        assert await there.parts.secrets.open(secret.version) == VALUE
        report = await verify(there.parts.db, elsewhere.anchors)
        assert report.intact and report.anchors >= 2, report.problems
        who = await there.parts.auth.principal_for_user(admin.name)
        caller = Caller(who, Surface.REST)
        jobs = await there.executor.execute("jobs_list", {}, caller=caller, call_id="1")
        assert "backups_create" in jobs.model_dump_json()
        # What waited then must not go on by itself: it may have been done since.
        with pytest.raises(Paused):
            await there.executor.execute("backups_create", {}, caller=caller, call_id="2")
        told = await there.executor.execute("audit_search", {}, caller=caller, call_id="3")
        assert "backups_restore" in told.model_dump_json()


Edit = Callable[[dict[str, bytes]], None]


def _other_file(entries: dict[str, bytes]) -> None:
    entries["home/inbox/deep/a.md"] = b"# swords"


def _other_file_that_the_manifest_agrees_with(entries: dict[str, bytes]) -> None:
    _other_file(entries)
    manifest = json.loads(entries[MANIFEST])
    for entry in manifest["entries"]:
        content = entries[entry["name"]]
        entry |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    entries[MANIFEST] = json.dumps(manifest).encode()


def _one_more(entries: dict[str, bytes]) -> None:
    entries["home/more"] = b"x"


def _one_less(entries: dict[str, bytes]) -> None:
    del entries["database.dump"]


def _other_key(entries: dict[str, bytes]) -> None:
    entries["secrets.key"] = b"A" * 43 + b"="


def _no_manifest(entries: dict[str, bytes]) -> None:
    del entries[MANIFEST]


EDITS: list[tuple[Edit, str]] = [
    (_other_file, "not what was backed up"),
    (_other_file_that_the_manifest_agrees_with, "manifest of the backup was edited"),
    (_one_more, "does not hold the files"),
    (_one_less, "does not hold the files"),
    (_other_key, "the key in the backup is not"),
    (_no_manifest, "no manifest"),
]


async def test_a_torn_or_edited_backup_is_refused_and_changes_nothing(
    app: App, admin: Principal, folder: Path, elsewhere: Settings, tmp_path: Path
) -> None:
    path = await backed_up(app, admin, folder)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as packed:
        held = {name: packed.read(name) for name in packed.namelist()}
    bad = tmp_path / "bad.zip"
    for edit, said in EDITS:
        entries = dict(held)
        edit(entries)
        with zipfile.ZipFile(bad, "w") as packed:
            for name, content in entries.items():
                packed.writestr(name, content)
        with pytest.raises(InvalidInput, match=f"(?i){said}"):
            await plan(elsewhere, bad)
    flipped = bytearray(whole)
    flipped[len(flipped) // 3] ^= 1
    for torn in (whole[: len(whole) // 2], whole[:-7], bytes(flipped), b"", b"no zip"):
        bad.write_bytes(torn)
        with pytest.raises(InvalidInput):
            await plan(elsewhere, bad)
        assert problem_of(bad)
    with pytest.raises(InvalidInput, match="no file"):
        await plan(elsewhere, tmp_path / "none.zip")
    assert not elsewhere.home.exists()


async def test_a_name_that_leads_out_is_refused_even_when_it_is_signed(
    settings: Settings, tmp_path: Path
) -> None:
    keys = Vault.of(settings).keys()
    for name in ("home/../../out", "/etc/out", "home\\out", "settings/../x"):
        path = tmp_path / "b.zip"
        with zipfile.ZipFile(path, "w") as packed:
            writer = Writer(packed)
            writer.add(name, b"x")
            told = {"format": 1, "made_at": "2026-01-01T00:00:00Z", "version": "1", "heads": []}
            rest = {"postgres": "18", "key_included": False, "audit_line": 0}
            key = fingerprint_of(keys[0])
            writer.seal(Manifest(**told, **rest, key=key, entries=writer.entries), keys[0])
        with pytest.raises(InvalidInput, match="forbidden name"):
            check(path, keys)


async def test_a_backup_without_its_key_wants_the_key_and_one_of_tomorrow_an_update(
    app: App, admin: Principal, folder: Path, elsewhere: Settings, tmp_path: Path
) -> None:
    async with used(app, admin):
        made = await make(app.parts.settings, folder, with_key=False, tell=quiet)
    with zipfile.ZipFile(made.path) as packed:
        assert "secrets.key" not in packed.namelist()
    with pytest.raises(Conflict, match="does not hold the key"):
        await plan(elsewhere, made.path)
    wrong = tmp_path / "wrong.key"
    wrong.write_bytes(b"A" * 43 + b"=")
    with pytest.raises(Conflict, match="does not hold the key"):
        await plan(elsewhere, made.path, wrong)
    right = app.parts.settings.home / "secrets.key"
    assert (await plan(elsewhere, made.path, right)).keys == right.read_bytes().split()
    with psycopg.connect(app.parts.settings.database_owner_url) as owner:
        owner.execute("INSERT INTO alembic_version VALUES ('tomorrow_0009')")
    later = await make(app.parts.settings, folder, with_key=True, tell=quiet)
    with pytest.raises(Conflict, match="newer version"):
        await plan(elsewhere, later.path)


async def test_a_database_that_holds_something_is_not_touched(
    app: App, admin: Principal, folder: Path
) -> None:
    made = await make(app.parts.settings, folder, with_key=True, tell=quiet)
    with pytest.raises(Conflict, match="is not empty"):
        await plan(app.parts.settings, made.path)


async def test_a_restore_that_fails_in_the_middle_leaves_everything_as_it_was(
    app: App, folder: Path, elsewhere: Settings
) -> None:
    made = await make(app.parts.settings, folder, with_key=True, tell=quiet)
    elsewhere.home.mkdir(parents=True)
    (elsewhere.home / "mine").write_text("kept")
    planned = await plan(elsewhere, made.path)
    with psycopg.connect(elsewhere.database_owner_url) as owner:
        owner.execute("CREATE TABLE audit_log (x int)")  # somebody was faster
    with pytest.raises(UpstreamUnavailable, match="already exists"):
        await restore(elsewhere, planned)
    assert [each.name for each in elsewhere.home.iterdir()] == ["mine"]
    with psycopg.connect(elsewhere.database_owner_url) as owner:
        tables = owner.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        assert tables.fetchone() == (1,)


async def test_a_folder_that_cannot_be_written_is_told_and_nothing_half_made_stays(
    app: App, admin: Principal, viewer: Principal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("a file")
    with pytest.raises(UpstreamUnavailable, match="cannot be written"):
        await make(app.parts.settings, folder, with_key=True, tell=quiet)
    folder.unlink()

    async def broken(fraction: float, message: str) -> None:
        if "Copying" in message or "again" in message:
            raise UpstreamUnavailable("stopped")

    with pytest.raises(UpstreamUnavailable, match="stopped"):
        await make(app.parts.settings, folder, with_key=True, tell=broken)
    assert list(folder.iterdir()) == []
    with pytest.raises(PermissionDenied):
        await app.executor.execute(
            "backups_create", {}, caller=Caller(viewer, Surface.REST), call_id="v"
        )


async def test_only_one_backup_is_made_at_a_time(app: App, folder: Path) -> None:
    with psycopg.connect(app.parts.settings.database_owner_url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(hashtext('nebula.backups'))")
        with pytest.raises(Conflict, match="Another backup"):
            await make(app.parts.settings, folder, with_key=True, tell=quiet)
    assert list(folder.iterdir()) == []
    assert (await make(app.parts.settings, folder, with_key=True, tell=quiet)).size > 0


def test_many_in_a_row_push_out_none_of_the_days_before() -> None:
    days = [f"jarvis-202611{day:02}-030000.zip" for day in range(1, 11)]
    burst = [f"jarvis-20261110-1200{second:02}.zip" for second in range(20)]
    foreign = ["photos.zip", "jarvis-notes.txt", "jarvis-20261101-030000.zip.old"]
    gone = thinned([*days, *burst, *foreign], 7)
    stay = {*days, *burst, *foreign} - set(gone)
    assert stay == {*days[3:9], *burst[13:], *foreign}
    assert thinned(days, 0) == [] and thinned(days[:3], 7) == []


@pytest.fixture
def fresh() -> Iterator[Terminal]:
    # Not tmp_path: as root, another pytest run closes its parents to the database's account.
    with tempfile.TemporaryDirectory(prefix="nebula-home-") as folder:
        yield Terminal(Path(folder))


@pytest.mark.timeout(240)
def test_at_the_terminal_it_comes_back_into_a_built_in_database(
    database_url: str, postgres: TestServer, tmp_path: Path, fresh: Terminal
) -> None:
    folder = tmp_path / "backups"
    more = {"DATABASE_OWNER_URL": database_url, "JARVIS_BACKUPS_FOLDER": str(folder)}
    here = Terminal(tmp_path / "here", postgres.as_app(database_url), more)
    here.home.mkdir()
    assert here.run("secrets", "set", "openai", "--yes", text=VALUE).returncode == 0
    made = here.run("backup", "--json")
    assert made.returncode == 0, made.stderr
    path = str(folder / json.loads(made.stdout)["result"]["name"])

    looked = fresh.run("restore", path, "--check")
    assert looked.returncode == 0 and "is whole" in looked.stderr
    assert list(fresh.home.iterdir()) == []
    verified = fresh.run("backup", "verify", path, "--json")
    assert json.loads(verified.stdout)["key_included"] is True

    (fresh.home / "mine").write_text("kept")
    refused = fresh.run("restore", path)
    assert refused.returncode == 6 and "--yes" in refused.stderr
    assert [each.name for each in fresh.home.iterdir()] == ["mine"]

    restored = fresh.run("restore", path, "--yes")
    assert restored.returncode == 0, restored.stderr
    assert "paused" in restored.stdout and "jarvis resume" in restored.stdout
    [aside] = fresh.home.glob("before-restore-*")
    assert (aside / "mine").read_text() == "kept"
    assert list(fresh.home.glob(".restoring-*")) == []
    shown = fresh.run("secrets", "show", "openai", "--pipe")
    assert shown.stdout.strip() == VALUE, shown.stderr
    assert fresh.run("audit", "verify").returncode == 0
    assert "operator paused it" in fresh.run("policy", "show").stdout
