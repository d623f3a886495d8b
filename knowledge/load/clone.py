"""Clones a git repository in the sandbox, shallow and bare of anything that could run or leak.

git reads what a stranger wrote, so it sees nothing of this machine: no file but the clone, no
network but one stream to the repository's checked address. Without the sandbox nothing is cloned.
"""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from knowledge.load.way import Way
from nebula.errors import (
    SandboxUnavailable,
    TimedOut,
    TooLarge,
    UpstreamRejected,
    UpstreamUnavailable,
)
from nebula.sandbox.disk import remove, size
from nebula.sandbox.job import Ended, Finished, Limits, Sandboxed
from nebula.sandbox.reach import JOIN, PROXY_PORT, Opens
from nebula.sandbox.run import run

_PROGRAMS = "/usr/bin:/bin:/usr/local/bin"
_OUTPUT = 64 * 1024


@dataclass(frozen=True)
class CloneLimits:
    """How much a clone may take, in bytes of disk and in seconds."""

    max_bytes: int
    seconds: float


@asynccontextmanager
async def cloned(source: Way | Path, limits: CloneLimits) -> AsyncIterator[Path]:
    """Clone the newest commit of a server's or a local repository; gone afterwards.

    Raises:
        SandboxUnavailable: when this machine lacks a layer of the sandbox.
        TooLarge: when the clone takes more disk than allowed.
        TimedOut: when it takes longer than allowed.
        UpstreamRejected: when git refuses or finds nothing.
        UpstreamUnavailable: when the server does not answer, or git is not installed.
    """
    if shutil.which("git", path=_PROGRAMS) is None:
        raise UpstreamUnavailable(
            "git is not installed here", hint="Install git, then add the repository again."
        )
    made = await asyncio.to_thread(tempfile.mkdtemp, prefix="jarvis-clone-")
    folder = await asyncio.to_thread(Path(made).resolve)
    try:
        await _clone(source, folder, limits)
        yield folder / "tree"
    finally:
        await asyncio.to_thread(remove, folder)


async def _clone(source: Way | Path, folder: Path, limits: CloneLimits) -> None:
    # upload-pack, which git starts for a local repository, reads its settings from files only.
    (folder / "settings").write_text("[safe]\n\tdirectory = *\n")
    try:
        finished = await run(_job(source, folder, limits))
    except SandboxUnavailable as error:
        raise SandboxUnavailable(
            f"A repository is cloned in the sandbox only. {error}",
            hint=f"{error.hint} Or clone it yourself into the inbox and add it as a folder.",
        ) from error
    if finished.ended is Ended.TIMED_OUT:
        raise TimedOut(
            f"Cloning took longer than {limits.seconds:.0f} s",
            hint="Clone it yourself into the inbox and add that folder.",
        )
    # A quick clone may be over before the watch has looked again.
    grown = await asyncio.to_thread(size, [folder]) > limits.max_bytes
    if grown or finished.ended is Ended.OUT_OF_DISK:
        raise TooLarge(
            f"The repository takes more than {limits.max_bytes:,} bytes",
            hint="Clone it yourself and add only the folder you need.",
        )
    if not finished.ok:
        raise _refused(finished, source)


def _job(source: Way | Path, folder: Path, limits: CloneLimits) -> Sandboxed:
    read: tuple[Path, ...] = ()
    reach: Opens | None = None
    through: tuple[str, ...] = ()
    if isinstance(source, Path):
        read, url, scheme = (source,), source.as_uri(), "file"
    else:
        reach, url, scheme = source.open, source.remote.url, source.remote.scheme
        through = () if scheme == "ssh" else ("perl", JOIN, "proxy")
    return Sandboxed(
        (*through, *_git(url, scheme, folder)),
        folder=folder,
        read=read,
        write=(folder,),
        environment={
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(folder / "settings"),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "GIT_SSH_VARIANT": "ssh",
            "LC_ALL": "C",
        },
        reach=reach,
        limits=Limits(
            seconds=limits.seconds,
            file=limits.max_bytes,
            growth=limits.max_bytes,
            output=_OUTPUT,
        ),
    )


def _git(url: str, scheme: str, folder: Path) -> tuple[str, ...]:
    nothing = folder / "nothing"
    # The sandbox holds without these; they hold without the sandbox.
    return (
        "git", "-c", f"core.hooksPath={nothing}", "-c", "core.symlinks=false",
        "-c", "core.fsmonitor=false", "-c", "credential.helper=", "-c", "http.followRedirects=false",
        "-c", "protocol.allow=never", "-c", f"protocol.{scheme}.allow=always",
        "-c", "filter.lfs.smudge=", "-c", "filter.lfs.required=false", "-c", "lfs.fetchexclude=*",
        "-c", "transfer.fsckObjects=true",
        "-c", f"http.proxy=socks5h://127.0.0.1:{PROXY_PORT}", "-c", f"core.sshCommand=perl {JOIN}",
        "clone", "--quiet", "--depth=1", "--single-branch", "--no-tags",
        "--no-recurse-submodules", f"--template={nothing}", "--", url, str(folder / "tree"),
    )  # fmt: skip


def _refused(finished: Finished, source: Way | Path) -> UpstreamRejected | UpstreamUnavailable:
    if isinstance(source, Way) and source.failure:
        return source.failure
    told = source.said.splitlines() if isinstance(source, Way) else []
    lines = finished.stderr.decode("utf-8", "replace").splitlines()
    lines = [line for line in lines if line.startswith(("fatal:", "error:", "ERROR:"))]
    # ssh knows better than git why there was no answer.
    reason = told[-1] if told else lines[0].partition(":")[2] if lines else ""
    if not reason and finished.ended is not Ended.EXITED:
        reason = finished.ended.value.replace("_", " ")
    return UpstreamRejected(
        f"git could not clone it: {reason.strip()[:300] or 'no reason given'}",
        hint="Check the address, and that it can be read without a password.",
    ).quoting()
