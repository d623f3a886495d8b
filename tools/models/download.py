"""Brings one file from the web to disk: resumable, checked, within the disk's room.

huggingface_hub's own download blocks a thread, cannot be cancelled and knows no checked
addresses, so Hugging Face and CivitAI share this one. Every attempt begins at the first address:
the signed addresses that it redirects to expire.
"""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final, TypeVar

import httpx
import structlog

from nebula.errors import (
    Conflict,
    NebulaError,
    NotFound,
    PermissionDenied,
    RateLimited,
    TimedOut,
    TooLarge,
    UpstreamRejected,
    UpstreamUnavailable,
)
from nebula.http import SafeFetch, Streamed
from nebula.services.sizes import MIB, spoken
from tools.models.part import Checksum, Part, disk_error
from tools.models.settings import ModelsSettings

T = TypeVar("T")
Progress = Callable[[float | None, str], Awaitable[None]]

log = structlog.get_logger()

_BUFFER: Final = 4 * MIB
_LOOK_EVERY: Final = 256 * MIB
"""Other programs fill disks too: how much is written between two looks at the room left."""
_TELL_SECONDS: Final = 0.5


def free_space(folder: Path) -> int:
    """Return the bytes that may still be written on a folder's disk."""
    return shutil.disk_usage(folder).free


@dataclass(frozen=True)
class Wanted:
    """One file of a source; `size` and `checksum` are what the source announces."""

    url: str
    source: str
    """The source's name, for people."""
    size: int | None = None
    about: int | None = None
    """The size where a source rounds it: good for asking the disk, not for comparing."""
    checksum: Checksum | None = None
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    trusted: frozenset[str] = frozenset()
    sign_in: str = ""
    """What to do when the source asks who is there."""


@dataclass(frozen=True)
class Downloaded:
    """What a download did; `resumed` is how many bytes an earlier one had left."""

    path: Path
    size: int
    digest: str | None
    verified: bool
    already: bool = False
    resumed: int = 0
    seconds: float = 0.0


class _Broken(Exception):
    """An attempt broke off; another one may go on, after `wait` seconds when the server says."""

    def __init__(self, error: NebulaError, wait: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait = wait


class Downloader:
    """Downloads files into folders of this machine."""

    def __init__(
        self,
        fetch: SafeFetch,
        settings: ModelsSettings,
        free: Callable[[Path], int] = free_space,
    ) -> None:
        """Take the guarded client, the limits, and how to ask for a disk's room."""
        self._fetch = fetch
        self._settings = settings
        self._free = free

    async def download(self, wanted: Wanted, final: Path, progress: Progress) -> Downloaded:
        """Bring a file to `final`; what an earlier download left is gone on with.

        Raises:
            Conflict: when it is being downloaded already, or another file has the name.
            TooLarge: when the disk has no room for it.
            UpstreamRejected: when what arrived is not what was announced.
            NebulaError: as the source says, or when it broke off too often.
        """
        started = time.monotonic()
        checksum = wanted.checksum
        version = checksum.value[:12].lower() if checksum else "unchecked"
        part = await in_thread(Part.open, final, version, checksum, wanted.size)
        try:
            there = await self._there(wanted, final, progress)
            if there is not None:
                await in_thread(part.discard)
                return there
            kept = await self._kept(part, wanted, progress)
            await self._room(part, wanted.size or wanted.about)
            await self._attempts(part, wanted, progress)
            await progress(1.0, f"Checking {final.name}")
            digest = await in_thread(part.finish)
        finally:
            await in_thread(part.close)
        seconds = time.monotonic() - started
        log.info("model downloaded", file=final.name, bytes=part.have, seconds=round(seconds, 1))
        return Downloaded(
            path=final,
            size=part.have,
            digest=digest,
            verified=checksum is not None,
            resumed=kept,
            seconds=seconds,
        )

    async def address(self, wanted: Wanted) -> str:
        """Return the address behind the hub's, which serves the file without a token for a while.

        Raises:
            NebulaError: as the hub says; nothing is read of the file itself.
        """
        async with self._fetch.stream(
            wanted.url,
            headers={"Range": "bytes=0-0"},
            credentials=wanted.credentials,
            trusted=wanted.trusted,
            stall=self._settings.stall_seconds,
        ) as answer:
            if answer.status not in {200, 206}:
                refusal = self._refusal(wanted, answer)
                raise refusal.error if isinstance(refusal, _Broken) else refusal
            return answer.url

    async def _there(self, wanted: Wanted, final: Path, progress: Progress) -> Downloaded | None:
        """Say that the file is there already; refuse when the name belongs to another one."""
        stat = await in_thread(_lstat, final)
        if stat is None:
            return None
        same = wanted.size in {None, stat}
        if same and wanted.checksum is not None:
            await progress(None, f"Comparing the {final.name} that is there")
            same = (
                await _digest(final, wanted.checksum, wanted.size) == wanted.checksum.value.lower()
            )
        if not same or (wanted.checksum is None and wanted.size is None):
            raise Conflict(
                f"There is another file called {final.name} in {final.parent.name} already",
                hint="Give `name` to store this one under another name, or delete the other first.",
            )
        verified = wanted.checksum is not None
        digest = wanted.checksum.value.lower() if wanted.checksum else None
        return Downloaded(final, stat, digest, verified, already=True)

    async def _kept(self, part: Part, wanted: Wanted, progress: Progress) -> int:
        """Hash what an earlier download left, and return how much that is."""
        if wanted.checksum is None or (wanted.size is not None and part.have > wanted.size):
            # Without a checksum nobody could say that two halves belong together.
            await in_thread(part.empty)
            return 0
        await in_thread(part.begin)
        done, told = 0, 0.0
        while piece := await in_thread(part.reread):
            done += piece
            if time.monotonic() - told > _TELL_SECONDS:
                told = time.monotonic()
                await progress(None, f"Reading the {spoken(done)} that are there already")
        return done

    async def _room(self, part: Part, size: int | None) -> None:
        """Refuse before the first byte what the disk has no room for."""
        folder = part.final.parent
        free = await in_thread(self._free, folder)
        reserve = self._settings.disk_reserve
        needed = max(0, (size or 0) - part.have)
        if free - needed < reserve:
            raise TooLarge(
                f"{part.final.name} needs {spoken(needed)} more; the disk of {folder} has "
                f"{spoken(free)}, of which {spoken(reserve)} stay free",
                hint="Delete models (models_list shows them) or lower JARVIS_MODELS_DISK_RESERVE.",
            )

    async def _attempts(self, part: Part, wanted: Wanted, progress: Progress) -> None:
        """Ask until the whole is there; an attempt that brought nothing counts as a failure."""
        failures = 0
        while True:
            before = part.have
            try:
                await self._attempt(part, wanted, progress)
                return
            except _Broken as broken:
                failures = 1 if part.have > before else failures + 1
                if failures >= self._settings.attempts:
                    raise broken.error from broken
                wait = self._pause(failures) if broken.wait is None else broken.wait
                log.info("download broke off", file=part.final.name, why=str(broken.error))
                await progress(_fraction(part, wanted), f"{broken.error}; going on in {wait:.0f} s")
                await asyncio.sleep(wait)

    def _pause(self, failures: int) -> float:
        return min(self._settings.retry_seconds * 2.0 ** (failures - 1), 60.0)

    async def _attempt(self, part: Part, wanted: Wanted, progress: Progress) -> None:
        if wanted.size is not None and part.have == wanted.size and part.have:
            return
        headers = {"Range": f"bytes={part.have}-"} if part.have else {}
        try:
            async with self._fetch.stream(
                wanted.url,
                headers=headers,
                credentials=wanted.credentials,
                trusted=wanted.trusted,
                stall=self._settings.stall_seconds,
            ) as answer:
                if answer.status == 416 and part.have and _whole(answer) == part.have:
                    return
                total = await self._begin(part, wanted, answer)
                await self._receive(part, wanted, answer, total, progress)
        except (TimedOut, UpstreamUnavailable) as error:
            raise _Broken(error) from error
        except UpstreamRejected as error:
            if isinstance(error.__cause__, httpx.TransportError):
                raise _Broken(error) from error
            raise

    async def _begin(self, part: Part, wanted: Wanted, answer: Streamed) -> int | None:
        """Read the answer's head; return the size of the whole file when it is known."""
        if answer.status == 416 and part.have:
            # What is there is longer than the file: it is of another one.
            await in_thread(part.empty)
            raise _Broken(_rejected(wanted, "knows no such part of the file"), wait=0.0)
        if answer.status not in {200, 206}:
            raise self._refusal(wanted, answer)
        if answer.headers.get("content-type", "").startswith("text/html"):
            raise UpstreamRejected(
                f"{wanted.source} answered with a web page where the file should be",
                hint=wanted.sign_in,
            )
        if answer.status == 206:
            start, total = _range(answer.headers.get("content-range", ""))
            if start != part.have:
                await in_thread(part.empty)
                raise _Broken(_rejected(wanted, "sent another part than was asked for"), wait=0.0)
        else:
            if part.have:
                await in_thread(part.empty)  # it does not know ranges: all comes again
            length = answer.headers.get("content-length", "")
            total = int(length) if length.isdigit() else None
        if wanted.size is not None and total not in {None, wanted.size}:
            raise _rejected(wanted, f"has {total:,} bytes where {wanted.size:,} were announced")
        if wanted.size is None and total is not None:
            await self._room(part, total)
        return wanted.size if wanted.size is not None else total

    def _refusal(self, wanted: Wanted, answer: Streamed) -> Exception:
        if answer.status in {401, 403}:
            return PermissionDenied(
                f"{wanted.source} does not give this file without a sign-in", hint=wanted.sign_in
            )
        if answer.status in {404, 410}:
            return NotFound(f"{wanted.source} has no such file any more")
        if answer.status == 429 or answer.status >= 500:
            wait = retry_after(answer.headers.get("retry-after", ""))
            if wait is not None and wait > self._settings.rate_limit_seconds:
                return RateLimited(
                    f"{wanted.source} asks to wait {wait:.0f} s",
                    hint="Start the download again then: it goes on where it stopped.",
                )
            said = "limits the rate" if answer.status == 429 else f"has an error {answer.status}"
            return _Broken(UpstreamUnavailable(f"{wanted.source} {said}"), wait)
        return _rejected(wanted, f"answered with status {answer.status}")

    async def _receive(
        self,
        part: Part,
        wanted: Wanted,
        answer: Streamed,
        total: int | None,
        progress: Progress,
    ) -> None:
        pace = _Pace(part, wanted, total, progress)
        buffer = bytearray()
        looked = part.have
        try:
            async for piece in answer.pieces():
                if total is not None and part.have + len(buffer) + len(piece) > total:
                    raise _rejected(wanted, "sends more than was announced")
                buffer += piece
                if len(buffer) >= _BUFFER:
                    data, buffer = bytes(buffer), bytearray()
                    await in_thread(part.append, data)
                await pace.tell(len(buffer))
                if part.have - looked >= _LOOK_EVERY:
                    looked = part.have
                    await self._room(part, total)
        finally:
            if buffer:  # kept also when this is cancelled: the next download goes on from here
                await in_thread(part.append, bytes(buffer))
        if total is not None and part.have < total:
            raise _Broken(UpstreamUnavailable(f"{wanted.source} broke off in the middle"))


class _Pace:
    """Tells how far and how fast, twice a second at most."""

    def __init__(self, part: Part, wanted: Wanted, total: int | None, progress: Progress) -> None:
        self._part = part
        self._wanted = wanted
        self._total = total
        self._progress = progress
        self._started = time.monotonic()
        self._from = part.have
        self._told = 0.0

    async def tell(self, buffered: int) -> None:
        now = time.monotonic()
        if now - self._told < _TELL_SECONDS:
            return
        self._told = now
        have = self._part.have + buffered
        rate = (have - self._from) / max(0.001, now - self._started)
        words = f"{self._part.final.name}: {spoken(have)}"
        if self._total is None:
            await self._progress(None, f"{words}, {rate / MIB:.0f} MB/s")
            return
        left = (self._total - have) / rate if rate > 0 else 0.0
        words += f" of {spoken(self._total)}, {rate / MIB:.0f} MB/s, {left:.0f} s left"
        await self._progress(min(0.999, have / max(1, self._total)), words)


async def in_thread(work: Callable[..., T], *arguments: object) -> T:
    """Run blocking work in a thread and wait for its end even when cancelled."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # The file must not be closed below a thread that still writes to it.
        await asyncio.wait([task])
        raise


async def _digest(path: Path, checksum: Checksum, size: int | None) -> str:
    """Hash a finished file, a piece at a time so that a cancel gets through."""
    hasher = checksum.hasher(size)
    offset = 0
    while piece := await in_thread(_piece, path, offset):
        await asyncio.to_thread(hasher.update, piece)
        offset += len(piece)
    return hasher.hexdigest()


def _piece(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(16 * MIB)


def _lstat(path: Path) -> int | None:
    """Return a file's size; None when there is none."""
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return None
    except OSError as error:
        raise disk_error(error, path.parent) from error


def _fraction(part: Part, wanted: Wanted) -> float | None:
    return None if not wanted.size else min(1.0, part.have / wanted.size)


def _rejected(wanted: Wanted, why: str) -> UpstreamRejected:
    return UpstreamRejected(f"{wanted.source} {why}")


def _range(header: str) -> tuple[int, int | None]:
    """Read `bytes 5-9/10`; -1 when it is not that."""
    unit, _, rest = header.partition(" ")
    span, _, total = rest.partition("/")
    start = span.partition("-")[0]
    if unit != "bytes" or not start.isdigit():
        return -1, None
    return int(start), int(total) if total.isdigit() else None


def _whole(answer: Streamed) -> int:
    """Return the size of the file that a refused range was asked of; -1 when it is not told."""
    unit, _, total = answer.headers.get("content-range", "").partition(" */")
    return int(total) if unit == "bytes" and total.isdigit() else -1


def retry_after(header: str) -> float | None:
    """Return the seconds a Retry-After header asks for; None when there is none."""
    text = header.strip()
    if text.isdigit():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
