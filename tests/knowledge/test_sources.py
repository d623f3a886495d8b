"""What a source names: files, folders, pages, repositories, and what may not be read."""

import asyncio
import os
import subprocess
from contextlib import asynccontextmanager

import pytest

from knowledge.document import Loaded
from knowledge.load.repository import looks_like_repository, parse_remote
from knowledge.settings import KnowledgeSettings
from knowledge.sources import Refused, SourceKind, Sources
from nebula.errors import (
    InvalidInput,
    NotFound,
    PermissionDenied,
    TimedOut,
    TooLarge,
    UpstreamRejected,
    UpstreamUnavailable,
)
from nebula.http import SafeFetch
from tests.fakes.serve import refusing, serve


@pytest.fixture
def home(tmp_path):
    inbox = tmp_path / "home" / "inbox"
    inbox.mkdir(parents=True)
    return tmp_path / "home"


@pytest.fixture
def inbox(home):
    return home / "inbox"


@asynccontextmanager
async def opened(home, *, private=False, **limits):
    async with SafeFetch(allow_private=private) as fetch:
        settings = KnowledgeSettings(_env_file=None, **limits)
        yield Sources(settings, home, fetch, allow_private=private)


async def read_all(home, source, kind=None, **settings):
    async with opened(home, **settings) as sources, sources.open(source, kind) as batch:
        return batch, [document async for document in batch.documents]


def write(path, text="# Title\n\nSome words."):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


async def test_a_relative_name_is_a_file_of_the_inbox(home, inbox):
    path = write(inbox / "guide.md")
    batch, [document] = await read_all(home, "guide.md")
    assert batch.kind is SourceKind.FILE
    assert document.source == str(path) and document.title == "Title"


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../secret.md", "a/../../secret.md", "~/x", "link.md", "links/secret.md"],
)
async def test_a_path_out_of_the_allowed_folders_is_refused(home, inbox, path):
    secret = write(home / "secret.md")
    (inbox / "link.md").symlink_to(secret)
    (inbox / "links").symlink_to(home)
    with pytest.raises(PermissionDenied, match="outside the folders"):
        await read_all(home, path)


async def test_an_administrators_folder_is_allowed(home, tmp_path):
    path = write(tmp_path / "wiki" / "a.md")
    _, [document] = await read_all(home, str(path), roots=(tmp_path / "wiki",))
    assert document.title == "Title"


def test_folders_are_split_as_the_environment_writes_them(monkeypatch):
    monkeypatch.setenv("JARVIS_KNOWLEDGE_ROOTS", f"/srv/wiki{os.pathsep}/srv/notes")
    roots = KnowledgeSettings(_env_file=None).roots
    assert [str(path) for path in roots] == ["/srv/wiki", "/srv/notes"]


async def test_a_missing_file_is_not_found(home):
    with pytest.raises(NotFound, match="no nothing"):
        await read_all(home, "nothing.md")


@pytest.mark.parametrize("name", ["a\x00b", "x" * 5000])
async def test_an_impossible_path_is_invalid(home, name):
    with pytest.raises((InvalidInput, NotFound)):
        await read_all(home, name)


async def test_a_pipe_is_refused_without_waiting_for_it(home, inbox):
    os.mkfifo(inbox / "pipe.md")
    with pytest.raises(InvalidInput, match="not a regular file"):
        await read_all(home, "pipe.md")


async def test_a_huge_file_is_refused_by_its_size(home, inbox):
    with (inbox / "huge.txt").open("wb") as file:
        file.truncate(10_000_000_000)
    with pytest.raises(TooLarge, match="10,000,000,000 bytes"):
        await read_all(home, "huge.txt")


async def test_a_folder_gives_its_readable_files_and_says_what_failed(home, inbox):
    write(inbox / "wiki" / "a.md")
    write(inbox / "wiki" / "sub" / "b.py", "def b(): ...")
    (inbox / "wiki" / "empty.md").touch()
    (inbox / "wiki" / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
    (inbox / "wiki" / "photo.png").write_bytes(b"\x89PNG")
    batch, found = await read_all(home, "wiki")

    assert batch.kind is SourceKind.FOLDER and batch.skipped == 1
    names = {item.source.rpartition("wiki/")[2]: item for item in found}
    assert set(names) == {"a.md", "sub/b.py", "empty.md", "broken.pdf"}
    assert isinstance(names["a.md"], Loaded) and isinstance(names["sub/b.py"], Loaded)
    assert isinstance(names["empty.md"], Refused) and isinstance(names["broken.pdf"], Refused)


async def test_a_folder_leaves_out_hidden_built_ignored_and_linked_files(home, inbox):
    wiki = inbox / "wiki"
    for name in ("keep.md", ".env.md", ".git/x.md", "node_modules/x.md", "drafts/x.md", "a.log.md"):
        write(wiki / name, f"# {name}\n\nwords")
    write(wiki / "notes" / "kept.log.md", "# k\n\nwords")
    write(wiki / ".gitignore", "drafts/\n*.log.md\n!kept.log.md\n")
    (wiki / "out.md").symlink_to(write(home / "secret.md"))
    (wiki / "loop").symlink_to(wiki)
    _, found = await read_all(home, "wiki")

    names = [item.source.rpartition("wiki/")[2] for item in found]
    assert names == ["keep.md", "notes/kept.log.md"]


async def test_a_folder_with_too_many_files_is_refused_whole(home, inbox):
    for number in range(4):
        write(inbox / "many" / f"{number}.md")
    with pytest.raises(TooLarge, match="more than 3"):
        await read_all(home, "many", max_files=3)


async def test_a_folder_with_nothing_to_read_says_so(home, inbox):
    (inbox / "none").mkdir()
    with pytest.raises(InvalidInput, match="nothing in"):
        await read_all(home, "none")


def git(folder, *arguments):
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "HOME": str(folder)}
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    subprocess.run(
        ["git", *who, *arguments], cwd=folder, env=environment, check=True, capture_output=True
    )


@pytest.fixture
def repository(inbox):
    folder = inbox / "repo"
    write(folder / "README.md", "# Project\n\nWhat it does.")
    write(folder / "src" / "main.py", "def main():\n    return 1\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    write(folder / "untracked.md")
    return folder


async def test_a_local_repository_gives_what_was_committed(home, repository):
    batch, found = await read_all(home, "repo")
    assert batch.kind is SourceKind.REPOSITORY
    assert [item.source for item in found] == [
        f"{repository}/README.md",
        f"{repository}/src/main.py",
    ]


async def test_cloning_runs_no_hook_and_follows_no_link(home, repository, tmp_path):
    write(home / "secret.md", "# secret\n\nwords")
    (repository / "link.md").symlink_to(home / "secret.md")
    write(repository / ".gitattributes", "*.md filter=evil\n")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "links")
    for name in ("post-checkout", "post-upload-pack", "reference-transaction"):
        hook = write(repository / ".git" / "hooks" / name, f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        hook.chmod(0o755)
    _, found = await read_all(home, "repo")

    assert not (tmp_path / "ran").exists()
    assert not any("secret\n" in s.text for d in found if isinstance(d, Loaded) for s in d.sections)


async def test_a_repository_that_outgrows_the_limit_is_refused_and_leaves_no_files(
    home, repository, tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (repository / "big.bin").write_bytes(os.urandom(3_000_000))
    git(repository, "add", "big.bin")
    git(repository, "commit", "-q", "-m", "big")
    with pytest.raises(TooLarge):
        await read_all(home, "repo", max_clone_bytes=100)
    assert not list(tmp_path.glob("jarvis-clone-*"))


async def test_a_clone_that_takes_too_long_is_stopped(home, repository):
    with pytest.raises(TimedOut, match="Cloning"):
        await read_all(home, "repo", clone_seconds=0.001)


async def test_an_empty_repository_says_so(home, inbox):
    (inbox / "fresh").mkdir()
    git(inbox / "fresh", "init", "-q")
    with pytest.raises((InvalidInput, UpstreamRejected)):
        await read_all(home, "fresh")


@pytest.mark.parametrize(
    "url",
    [
        "git://example.com/x.git",
        "ext::sh -c touch% /tmp/x",
        "https://user:pass@example.com/x.git",
        "https://example.com:99999/x.git",
        "ssh://-oProxyCommand=x/y.git",
        "git@-oProxyCommand=evil:x.git",
        "ssh://git@host;touch x/y.git",
        "https://example.com",
        "http://example.com/x.git",
        "file:///etc/x.git",
    ],
)
def test_an_odd_repository_address_is_refused(url):
    with pytest.raises(InvalidInput):
        parse_remote(url, allow_private=False)


@pytest.mark.parametrize(
    "url", ["https://localhost/x.git", "git@127.0.0.1:x.git", "ssh://git@127.8.8.8:22/x.git"]
)
async def test_a_repository_on_a_private_network_is_refused(home, url):
    with pytest.raises(PermissionDenied, match="private network"):
        await read_all(home, url, SourceKind.REPOSITORY)


async def test_a_repository_server_that_is_down_is_a_clear_error(home):
    with refusing() as address, pytest.raises(UpstreamUnavailable, match="does not answer on port"):
        await read_all(home, f"{address}/x.git", private=True)


def test_forges_and_git_addresses_are_repositories_and_pages_are_not():
    assert looks_like_repository("https://github.com/comfyanonymous/ComfyUI")
    assert looks_like_repository("git@github.com:a/b.git")
    assert looks_like_repository("https://git.example.com/a.git")
    assert not looks_like_repository("https://github.com/a/b/blob/main/README.md")
    assert not looks_like_repository("https://docs.example.com/a/b")
    assert not looks_like_repository("notes/a.md")


def page(status, content_type, body):
    async def app(scope, receive, send):
        headers = [(b"content-type", content_type.encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


async def test_a_web_page_is_fetched_and_read(home):
    async with serve(page(200, "text/markdown", b"# Guide\n\nPlug it in.")) as address:
        batch, [document] = await read_all(home, f"{address}/guide", private=True)
    assert batch.kind is SourceKind.URL
    assert document.title == "Guide" and document.source == f"{address}/guide"


@pytest.mark.parametrize(
    ("status", "content_type", "body", "error", "message"),
    [
        (404, "text/html", b"gone", UpstreamRejected, "answers 404"),
        (200, "image/png", b"\x89PNG", InvalidInput, "image/png"),
        (200, "text/plain", b"x" * 3000, TooLarge, "larger than 2,000"),
        (200, "text/plain", b"", InvalidInput, "is empty"),
        (200, "application/pdf", b"lies", InvalidInput, "damaged"),
    ],
)
async def test_a_web_page_that_cannot_be_used_is_a_clear_error(
    home, status, content_type, body, error, message
):
    async with serve(page(status, content_type, body)) as address:
        with pytest.raises(error, match=message):
            await read_all(home, f"{address}/x", private=True, max_file_bytes=2000)


async def test_a_page_on_a_private_network_is_refused(home):
    async with serve(page(200, "text/plain", b"secret")) as address:
        with pytest.raises(PermissionDenied):
            await read_all(home, f"{address}/x")


async def test_a_web_server_that_is_down_is_unavailable(home):
    with refusing() as address, pytest.raises(UpstreamUnavailable):
        await read_all(home, f"{address}/x", private=True)


async def test_reading_that_is_cancelled_ends_its_process(home, inbox):
    write(inbox / "a.md")
    reading = asyncio.create_task(read_all(home, "a.md"))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
