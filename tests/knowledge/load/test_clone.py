"""Hostile repositories, cloned in the real sandbox."""

import ipaddress
import os
import ssl
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from knowledge.load.clone import CloneLimits, cloned
from knowledge.load.folder import walk
from knowledge.load.isolated import parser_job
from knowledge.load.read import Limits
from knowledge.load.repository import Remote, parse_remote
from knowledge.load.way import Way, ssh_arguments
from nebula.errors import TimedOut, TooLarge, UpstreamRejected
from nebula.sandbox.run import run
from tests.fakes.git_server import GitServer
from tests.fakes.serve import serve, silent

pytestmark = pytest.mark.sandbox

LIMITS = CloneLimits(max_bytes=20_000_000, seconds=30)
LOOPBACK = ipaddress.ip_address("127.0.0.1")


def git(folder: Path, *arguments: str, stdin: bytes = b"") -> str:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "HOME": str(folder)}
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    done = subprocess.run(
        ["git", *who, *arguments],
        cwd=folder, env=environment, check=True, capture_output=True, input=stdin,
    )  # fmt: skip
    return done.stdout.decode().strip()


def commit(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q", "-b", "main")
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "x")
    return folder


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """Where clones lie; nothing of them may be left."""
    folder = Path(tempfile.mkdtemp(prefix="scratch-"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    left = list(folder.iterdir())
    folder.rmdir() if not left else None
    assert left == []


def way(address: str, path: str, host: str = "127.0.0.1") -> Way:
    scheme, _, rest = address.partition("://")
    port = int(rest.rpartition(":")[2])
    return Way(Remote(scheme, host, port, f"{scheme}://{host}:{port}/{path}"), LOOPBACK)


async def test_a_server_is_reached_at_the_checked_address_whatever_its_name_says(tmp_path):
    commit(tmp_path / "r", README="words")
    # The name resolves nowhere: git can only have got there through the way it was given.
    async with (
        serve(GitServer(tmp_path)) as address,
        cloned(way(address, "r/.git", "forge.invalid"), LIMITS) as tree,
    ):
        assert (tree / "README").read_text() == "words"


async def test_the_certificate_of_the_server_is_checked_by_its_name(tmp_path):
    commit(tmp_path / "r", README="words")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("forge.invalid").configure_cert(tls)
    async with serve(GitServer(tmp_path), tls=tls) as address:
        with pytest.raises(UpstreamRejected, match="certificate"):
            async with cloned(way(address, "r/.git", "forge.invalid"), LIMITS):
                pass


async def test_hooks_filters_submodules_and_links_of_a_repository_do_nothing(tmp_path):
    ran = tmp_path / "ran"
    repository = commit(
        tmp_path / "r",
        **{"README__md": "# words", "__gitattributes": "*.md filter=evil diff=evil merge=evil\n"},
        __gitmodules=f'[submodule "s"]\n\tpath = s\n\turl = ext::sh -c touch% {ran}\n',
    )
    (repository / "passwd.md").symlink_to("/etc/passwd")
    (repository / "up").symlink_to("..")
    git(repository, "add", ".")
    entry = f"160000,{git(repository, 'rev-parse', 'HEAD')},s"
    git(repository, "update-index", "--add", "--cacheinfo", entry)
    git(repository, "commit", "-q", "-m", "y")
    git(repository, "config", "filter.evil.smudge", f"touch {ran}")
    git(repository, "config", "core.fsmonitor", f"touch {ran}")
    git(repository, "config", "uploadpack.packObjectsHook", f"touch {ran};")
    for name in ("post-checkout", "reference-transaction", "post-upload-pack"):
        hook = repository / ".git" / "hooks" / name
        hook.write_text(f"#!/bin/sh\ntouch {ran}\n")
        hook.chmod(0o755)
    async with serve(GitServer(tmp_path)) as address:
        for source in (repository, way(address, "r/.git")):
            async with cloned(source, LIMITS) as tree:
                assert not (tree / "passwd.md").is_symlink() and not (tree / "up").is_symlink()
                assert (tree / "README.md").read_text() == "# words"
                assert list((tree / "s").iterdir()) == []
    assert not ran.exists()


async def test_a_local_repository_borrows_no_objects_from_elsewhere_on_this_machine(tmp_path):
    """git follows such a pointer anywhere; the sandbox has nothing there."""
    secret = commit(tmp_path / "elsewhere", secret__md="# canary")
    thief = tmp_path / "thief"
    thief.mkdir()
    git(thief, "init", "-q", "-b", "main")
    (thief / ".git/objects/info/alternates").write_text(f"{secret}/.git/objects\n")
    (thief / ".git/refs/heads/main").write_text(git(secret, "rev-parse", "HEAD") + "\n")
    assert git(thief, "show", "HEAD:secret.md") == "# canary"
    with pytest.raises(UpstreamRejected):
        async with cloned(thief, LIMITS):
            pass


async def test_a_small_pack_of_huge_files_is_refused(tmp_path):
    repository = tmp_path / "r"
    repository.mkdir()
    for number in range(4):
        (repository / f"{number}.txt").write_bytes(bytes([48 + number]) * 8_000_000)
    commit(repository)
    with pytest.raises(TooLarge, match="more than 20,000,000 bytes"):
        async with cloned(repository, LIMITS):
            pass


async def test_a_very_deep_tree_is_read_where_it_is_shallow_and_cleared_away(tmp_path):
    repository = tmp_path / "r"
    repository.mkdir()
    git(repository, "init", "-q", "--bare", "-b", "main")
    stream = "commit refs/heads/main\ncommitter t <t@e> 0 +0000\ndata 1\nx\n"
    for name in ("README.md", "a/" * 1100 + "deep.md"):
        stream += f"M 644 inline {name}\ndata 5\nwords\n"
    git(repository, "fast-import", "--quiet", stdin=stream.encode())
    async with cloned(repository, LIMITS) as tree:
        walked = walk(tree, max_files=10)
        assert [entry.inside for entry in walked.entries] == ["README.md"]


async def test_a_server_that_never_answers_is_left_in_time():
    with silent() as address, pytest.raises(TimedOut, match="longer than 1 s"):
        async with cloned(way(address, "r.git"), replace(LIMITS, seconds=1)):
            pass


async def test_without_the_sandbox_nothing_is_cloned(tmp_path):
    """Inside a sandbox no other can be made: a machine that lacks a layer."""
    repository = commit(tmp_path / "r", README="words")
    source = f"""
import asyncio
from pathlib import Path
from knowledge.load.clone import CloneLimits, cloned
from nebula.errors import SandboxUnavailable
async def attempt():
    async with cloned(Path({str(repository)!r}), CloneLimits(10**6, 30)):
        print("cloned")
try:
    asyncio.run(attempt())
except SandboxUnavailable as error:
    print(error, error.hint)
"""
    job = parser_job(b"", Limits(1000, 10, 1000), 60)
    job = replace(job, argv=(job.argv[0], "-c", source), read=(*job.read, repository))
    finished = await run(job)
    assert "in the sandbox only" in finished.text and "add it as a folder" in finished.text
    assert "cloned\n" not in finished.text


async def test_ssh_runs_outside_with_its_keys_and_serves_that_one_repository(tmp_path, monkeypatch):
    commit(tmp_path / "my r", README="words")
    programs = tmp_path / "bin"
    programs.mkdir()
    # Stands for the other machine too: what ssh was told to run there is run here.
    (programs / "ssh").write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/asked\nfor last; do :; done\neval "$last"\n'
    )
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    remote = parse_remote(f"ssh://git@forge.invalid:2222{tmp_path}/my%20r", allow_private=False)
    async with cloned(Way(remote, LOOPBACK), LIMITS) as tree:
        assert (tree / "README").read_text() == "words"
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[-2:] == ["git@forge.invalid", f"git-upload-pack '{tmp_path}/my r'"]
    assert "HostName=127.0.0.1" in asked and "2222" in asked


async def test_what_ssh_says_is_the_reason(tmp_path, monkeypatch):
    (tmp_path / "ssh").write_text(
        "#!/bin/sh\necho 'Permission denied (publickey).' >&2\nexit 255\n"
    )
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    remote = parse_remote("git@forge.invalid:a/b.git", allow_private=False)
    with pytest.raises(UpstreamRejected, match="publickey"):
        async with cloned(Way(remote, LOOPBACK), LIMITS):
            pass


@pytest.mark.parametrize(
    ("url", "command"),
    [
        ("git@forge.example:a/b.git", "git-upload-pack /a/b.git"),
        ("ssh://forge.example/a;touch%20x", "git-upload-pack '/a;touch x'"),
        ("ssh://forge.example/it's", "git-upload-pack '/it'\"'\"'s'"),
    ],
)
def test_a_path_is_one_word_for_the_other_machines_shell(url, command):
    assert ssh_arguments(parse_remote(url, allow_private=False), LOOPBACK)[-1] == command
