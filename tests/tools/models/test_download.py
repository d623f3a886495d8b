"""One file from the web to disk, over a real port, with a server that misbehaves."""

import asyncio
import errno
import hashlib
import os
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from nebula.errors import (
    Conflict,
    NotFound,
    PermissionDenied,
    RateLimited,
    TimedOut,
    TooLarge,
    UpstreamRejected,
    UpstreamUnavailable,
)
from nebula.http import SafeFetch, origin_of
from tests.fakes.files import FileServer
from tests.fakes.serve import refusing, serve
from tools.models.download import Downloader, Wanted
from tools.models.part import Checksum
from tools.models.settings import ModelsSettings

CONTENT = random.Random(1).randbytes(300_000)
SHA = Checksum("sha256", hashlib.sha256(CONTENT).hexdigest())
PLENTY = 10**12


class Site(Starlette):
    """A hub's download address that redirects to the file server, as the real ones do."""

    def __init__(self) -> None:
        self.files = FileServer()
        self.to: str | None = None
        self.authorizations: list[str | None] = []
        routes = [Route("/get", self._get), Route("/file", self._file)]
        super().__init__(routes=routes)

    async def _get(self, request: Request) -> Response:
        self.authorizations.append(request.headers.get("authorization"))
        return RedirectResponse(self.to or "/file")

    async def _file(self, request: Request) -> Response:
        return self.files.answer(request, CONTENT)


class Told:
    """Keeps what progress was told."""

    def __init__(self) -> None:
        self.lines: list[tuple[float | None, str]] = []

    async def __call__(self, fraction: float | None, message: str) -> None:
        self.lines.append((fraction, message))

    @property
    def text(self) -> str:
        return " | ".join(message for _, message in self.lines)


def limits(**more: Any) -> ModelsSettings:
    return ModelsSettings(
        **{
            "_env_file": None,
            "retry_seconds": 0,
            "stall_seconds": 20,
            "attempts": 3,
            "disk_reserve": 2**30,
            **more,
        }
    )


@asynccontextmanager
async def open_lab(
    *, free: Callable[[Path], int] = lambda _: PLENTY, private: bool = False, **more: Any
) -> AsyncIterator[tuple[Site, Downloader, Wanted]]:
    site = Site()
    async with serve(site) as url, SafeFetch(allow_private=private) as fetch:
        wanted = Wanted(
            url=f"{url}/get",
            source="The hub",
            size=len(CONTENT),
            checksum=SHA,
            trusted=frozenset({origin_of(url)}),
            sign_in="Set a token.",
        )
        yield site, Downloader(fetch, limits(**more), free), wanted


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.part"))


def leave(folder: Path, content: bytes, name: str = "m.safetensors") -> Path:
    """Leave what a download that broke off leaves."""
    part = folder / f"{name}.{SHA.value[:12]}.part"
    part.write_bytes(content)
    return part


async def test_a_file_arrives_whole_checked_and_under_its_name(tmp_path: Path) -> None:
    async with open_lab() as (_, downloader, wanted):
        told = Told()
        got = await downloader.download(wanted, tmp_path / "m.safetensors", told)
    assert (tmp_path / "m.safetensors").read_bytes() == CONTENT
    assert (got.size, got.verified, got.already, got.resumed) == (len(CONTENT), True, False, 0)
    assert got.digest == SHA.value
    assert list(tmp_path.iterdir()) == [tmp_path / "m.safetensors"]
    assert told.lines[-1][0] == 1.0


async def test_a_connection_that_drops_is_gone_on_with_where_it_stopped(tmp_path: Path) -> None:
    async with open_lab() as (site, downloader, wanted):
        site.files.faults.drops = 2
        await downloader.download(wanted, tmp_path / "m.safetensors", Told())
    assert (tmp_path / "m.safetensors").read_bytes() == CONTENT
    first, second, third = site.files.ranges
    assert first is None and second is not None and third is not None
    assert 0 < int(second[6:-1]) < int(third[6:-1])


async def test_what_an_earlier_download_left_is_not_fetched_again(tmp_path: Path) -> None:
    leave(tmp_path, CONTENT[:200_000])
    async with open_lab() as (site, downloader, wanted):
        got = await downloader.download(wanted, tmp_path / "m.safetensors", Told())
    assert (tmp_path / "m.safetensors").read_bytes() == CONTENT
    assert got.resumed == 200_000
    assert site.files.ranges == ["bytes=200000-"]
    assert site.files.sent == 100_000


async def test_a_part_that_is_whole_already_is_only_checked(tmp_path: Path) -> None:
    leave(tmp_path, CONTENT)
    async with open_lab() as (site, downloader, wanted):
        await downloader.download(wanted, tmp_path / "m.safetensors", Told())
    assert (tmp_path / "m.safetensors").read_bytes() == CONTENT
    assert site.files.ranges == []


async def test_a_cancelled_download_keeps_its_part_and_the_next_one_goes_on(
    tmp_path: Path,
) -> None:
    async with open_lab() as (site, downloader, wanted):
        site.files.faults.stalls = 1
        final = tmp_path / "m.safetensors"
        task = asyncio.create_task(downloader.download(wanted, final, Told()))
        await site.files.stalled.wait()
        while not parts(tmp_path):
            await asyncio.sleep(0)
        # What was sent is on its way: wait until the client has it in its buffer.
        await asyncio.wait([task], timeout=0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(site.files.left.wait(), 5)
        (part,) = parts(tmp_path)
        kept = part.stat().st_size
        assert 0 < kept < len(CONTENT)
        assert not final.exists()
        got = await downloader.download(wanted, final, Told())
    assert got.resumed == kept
    assert final.read_bytes() == CONTENT


async def test_a_server_that_falls_silent_is_asked_again(tmp_path: Path) -> None:
    async with open_lab(stall_seconds=0.5) as (site, downloader, wanted):
        site.files.faults.stalls = 1
        told = Told()
        await downloader.download(wanted, tmp_path / "m.safetensors", told)
    assert (tmp_path / "m.safetensors").read_bytes() == CONTENT
    assert "took too long to answer; going on" in told.text


async def test_a_server_that_stays_silent_is_given_up_and_the_part_kept(tmp_path: Path) -> None:
    async with open_lab(stall_seconds=0.1) as (site, downloader, wanted):
        site.files.faults.stalls = 99
        site.files.faults.drop_after = 0
        with pytest.raises(TimedOut):
            await downloader.download(wanted, tmp_path / "m.safetensors", Told())
    assert len(site.files.ranges) == 3
    assert list(tmp_path.iterdir()) == [], "nothing arrived, so nothing is left behind"


async def test_a_damaged_file_is_thrown_away_and_never_gets_its_name(tmp_path: Path) -> None:
    async with open_lab() as (site, downloader, wanted):
        site.files.faults.corrupt = True
        with pytest.raises(UpstreamRejected, match="damaged"):
            await downloader.download(wanted, tmp_path / "m.safetensors", Told())
    assert list(tmp_path.iterdir()) == []


async def test_a_damaged_part_is_found_out_and_thrown_away(tmp_path: Path) -> None:
    leave(tmp_path, b"x" * 200_000)
    async with open_lab() as (_, downloader, wanted):
        with pytest.raises(UpstreamRejected, match="damaged"):
            await downloader.download(wanted, tmp_path / "m.safetensors", Told())
        await downloader.download(wanted, tmp_path / "m.safetensors", Told())
    assert (tmp_path / "m.safetensors").read_bytes() == CONTENT


async def test_a_server_without_ranges_sends_all_again(tmp_path: Path) -> None:
    leave(tmp_path, CONTENT[:100_000])
    async with open_lab() as (site, downloader, wanted):
        site.files.faults.no_ranges = True
        await downloader.download(wanted, tmp_path / "m.safetensors", Told())
    assert (tmp_path / "m.safetensors").read_bytes() == CONTENT


@pytest.mark.parametrize("fault", ["gone_range", "wrong_range"])
async def test_a_refused_or_wrong_part_makes_it_begin_anew(tmp_path: Path, fault: str) -> None:
    leave(tmp_path, CONTENT[:100_000])
    async with open_lab() as (site, downloader, wanted):
        setattr(site.files.faults, fault, 1)
        await downloader.download(wanted, tmp_path / "m.safetensors", Told())
    assert (tmp_path / "m.safetensors").read_bytes() == CONTENT
    assert site.files.ranges == ["bytes=100000-", None]


async def test_a_whole_part_of_unannounced_size_is_taken_by_its_checksum(tmp_path: Path) -> None:
    leave(tmp_path, CONTENT)
    async with open_lab() as (site, downloader, wanted):
        loose = Wanted(wanted.url, "The hub", checksum=SHA, trusted=wanted.trusted)
        await downloader.download(loose, tmp_path / "m.safetensors", Told())
    assert (tmp_path / "m.safetensors").read_bytes() == CONTENT
    assert site.files.ranges == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("status", [429, 503, 500])
async def test_a_busy_server_is_waited_for(tmp_path: Path, status: int) -> None:
    async with open_lab() as (site, downloader, wanted):
        site.files.faults.statuses = [status, status]
        site.files.faults.retry_after = "0"
        await downloader.download(wanted, tmp_path / "m.safetensors", Told())
    assert (tmp_path / "m.safetensors").read_bytes() == CONTENT


async def test_a_rate_limit_of_an_hour_is_told_instead(tmp_path: Path) -> None:
    async with open_lab() as (site, downloader, wanted):
        site.files.faults.statuses = [429]
        site.files.faults.retry_after = "3600"
        with pytest.raises(RateLimited, match="3600 s"):
            await downloader.download(wanted, tmp_path / "m.safetensors", Told())


@pytest.mark.parametrize(
    ("status", "error"), [(401, PermissionDenied), (403, PermissionDenied), (404, NotFound)]
)
async def test_a_refusal_is_final_and_says_what_to_do(
    tmp_path: Path, status: int, error: type[Exception]
) -> None:
    async with open_lab() as (site, downloader, wanted):
        site.files.faults.statuses = [status, status]
        with pytest.raises(error):
            await downloader.download(wanted, tmp_path / "m.safetensors", Told())
    assert len(site.files.ranges) == 1


@pytest.mark.parametrize(
    ("fault", "said"), [("page", "web page"), ("packed", "encoding"), ("longer", "sends more")]
)
async def test_what_is_not_the_announced_file_is_refused(
    tmp_path: Path, fault: str, said: str
) -> None:
    async with open_lab() as (site, downloader, wanted):
        setattr(site.files.faults, fault, 10)
        with pytest.raises(UpstreamRejected, match=said):
            await downloader.download(wanted, tmp_path / "m.safetensors", Told())
    assert not (tmp_path / "m.safetensors").exists()


async def test_a_file_of_another_size_than_announced_is_refused_at_its_head(
    tmp_path: Path,
) -> None:
    async with open_lab() as (_, downloader, wanted):
        smaller = Wanted(wanted.url, "The hub", size=1000, checksum=SHA, trusted=wanted.trusted)
        with pytest.raises(UpstreamRejected, match="300,000 bytes where 1,000"):
            await downloader.download(smaller, tmp_path / "m.safetensors", Told())


async def test_a_disk_without_room_is_told_before_the_first_byte(tmp_path: Path) -> None:
    def free(_: Path) -> int:
        return 2**30 + 299_999

    async with open_lab(free=free) as (site, downloader, wanted):
        with pytest.raises(TooLarge, match="stay free"):
            await downloader.download(wanted, tmp_path / "m.safetensors", Told())
        assert site.authorizations == []
        leave(tmp_path, CONTENT[:10])  # what is there needs no room any more
        await downloader.download(wanted, tmp_path / "m.safetensors", Told())


async def test_a_disk_that_fills_up_in_the_middle_keeps_the_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0
    real = os.write

    def full(handle: int, data: bytes) -> int:
        nonlocal written
        # The boundary is the kernel's call: a quota of 250,000 bytes on this file.
        room = 250_000 - written
        if len(data) > 1000 and room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = real(handle, data[:room] if len(data) > 1000 else data)
        written += done if len(data) > 1000 else 0
        return done

    async with open_lab() as (_, downloader, wanted):
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(TooLarge, match="is full"):
            await downloader.download(wanted, tmp_path / "m.safetensors", Told())
        monkeypatch.undo()
        (part,) = parts(tmp_path)
        assert part.read_bytes() == CONTENT[:250_000]
        got = await downloader.download(wanted, tmp_path / "m.safetensors", Told())
    assert got.resumed == 250_000
    assert (tmp_path / "m.safetensors").read_bytes() == CONTENT


async def test_of_two_downloads_of_one_file_the_second_is_refused(tmp_path: Path) -> None:
    async with open_lab() as (site, downloader, wanted):
        site.files.hold = asyncio.Event()
        final = tmp_path / "m.safetensors"
        first = asyncio.create_task(downloader.download(wanted, final, Told()))
        await site.files.stalled.wait()
        with pytest.raises(Conflict, match="being downloaded already"):
            await downloader.download(wanted, final, Told())
        site.files.hold.set()
        await first
        again = await downloader.download(wanted, final, Told())
    assert again.already
    assert final.read_bytes() == CONTENT


async def test_what_is_there_already_is_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(CONTENT)
    async with open_lab() as (site, downloader, wanted):
        got = await downloader.download(wanted, tmp_path / "m.safetensors", Told())
    assert got.already and got.verified
    assert site.authorizations == []


@pytest.mark.parametrize("content", [b"another", CONTENT[:-1] + b"!"])
async def test_another_file_of_that_name_is_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.safetensors").write_bytes(content)
    async with open_lab() as (_, downloader, wanted):
        with pytest.raises(Conflict, match="another file"):
            await downloader.download(wanted, tmp_path / "m.safetensors", Told())
    assert (tmp_path / "m.safetensors").read_bytes() == content
    assert parts(tmp_path) == []


async def test_a_link_in_the_place_of_the_part_is_not_written_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / f"m.safetensors.{SHA.value[:12]}.part").symlink_to(outside)
    async with open_lab() as (_, downloader, wanted):
        with pytest.raises(PermissionDenied, match="link"):
            await downloader.download(wanted, folder / "m.safetensors", Told())
    assert outside.read_bytes() == b"precious"


async def test_without_a_checksum_an_older_part_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors.unchecked.part").write_bytes(b"x" * 1000)
    async with open_lab() as (site, downloader, wanted):
        loose = Wanted(wanted.url, "The hub", size=len(CONTENT), trusted=wanted.trusted)
        got = await downloader.download(loose, tmp_path / "m.safetensors", Told())
    assert not got.verified
    assert site.files.ranges == [None]
    assert (tmp_path / "m.safetensors").read_bytes() == CONTENT


async def test_gits_checksum_is_verified_too(tmp_path: Path) -> None:
    git = hashlib.sha1(f"blob {len(CONTENT)}\0".encode() + CONTENT).hexdigest()
    async with open_lab() as (site, downloader, wanted):
        small = Wanted(
            wanted.url,
            "The hub",
            len(CONTENT),
            checksum=Checksum("git", git),
            trusted=wanted.trusted,
        )
        assert (await downloader.download(small, tmp_path / "a.json", Told())).verified
        site.files.faults.corrupt = True
        with pytest.raises(UpstreamRejected, match="damaged"):
            await downloader.download(small, tmp_path / "b.json", Told())


async def test_the_token_goes_to_the_hub_and_not_to_where_it_redirects(tmp_path: Path) -> None:
    async with open_lab(private=True) as (site, downloader, wanted), serve(site) as other:
        site.to = f"{other}/file"
        secret = {"Authorization": "Bearer secret"}
        mine = Wanted(
            wanted.url, "The hub", len(CONTENT), checksum=SHA, credentials=secret,
            trusted=wanted.trusted,
        )  # fmt: skip
        await downloader.download(mine, tmp_path / "m.safetensors", Told())
    assert site.authorizations == ["Bearer secret"]
    assert site.files.authorizations == [None]
    assert "secret" not in repr(mine)


@pytest.mark.parametrize(
    "inside", ["http://127.0.0.1:1/file", "http://169.254.169.254/latest/", "http://10.0.0.7/x"]
)
async def test_a_redirect_to_a_private_address_is_refused(tmp_path: Path, inside: str) -> None:
    async with open_lab() as (site, downloader, wanted):
        site.to = inside
        with pytest.raises(PermissionDenied):
            await downloader.download(wanted, tmp_path / "m.safetensors", Told())
    assert list(tmp_path.iterdir()) == []


async def test_a_server_that_is_away_is_given_up_after_its_attempts(tmp_path: Path) -> None:
    async with open_lab() as (_, downloader, _):
        with refusing() as url:
            gone = Wanted(f"{url}/get", "The hub", 5, trusted=frozenset({origin_of(url)}))
            with pytest.raises(UpstreamUnavailable):
                await downloader.download(gone, tmp_path / "m.safetensors", Told())


async def test_a_folder_that_may_not_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with open_lab() as (_, downloader, wanted):
        with pytest.raises(Conflict, match="cannot be used"):
            await downloader.download(wanted, tmp_path / "file" / "m.safetensors", Told())


BIG = random.Random(2).randbytes(12 * 2**20)
_CHILD = """
import asyncio, sys
from pathlib import Path
from nebula.http import SafeFetch, origin_of
from tools.models.download import Downloader, Wanted
from tools.models.part import Checksum
from tools.models.settings import ModelsSettings

async def quiet(fraction, message):
    pass

async def main(url, folder, sha):
    wanted = Wanted(url, "The hub", checksum=Checksum("sha256", sha), trusted={origin_of(url)})
    async with SafeFetch() as fetch:
        await Downloader(fetch, ModelsSettings()).download(wanted, Path(folder, "m.gguf"), quiet)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_killed_process_leaves_a_part_that_another_one_goes_on_with(tmp_path: Path) -> None:
    files = FileServer()

    async def big(request: Request) -> Response:
        return files.answer(request, BIG)

    files.faults.drop_after, files.hold = 9 * 2**20, asyncio.Event()
    sha = hashlib.sha256(BIG).hexdigest()
    async with serve(Starlette(routes=[Route("/big", big)])) as url, SafeFetch() as fetch:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _CHILD, f"{url}/big", str(tmp_path), sha,
            env={**os.environ, "JARVIS_MODELS_DISK_RESERVE": "1 MB"},
        )  # fmt: skip
        await files.stalled.wait()
        async with asyncio.timeout(20):
            while not any(part.stat().st_size for part in parts(tmp_path)):
                await asyncio.sleep(0.01)
        child.kill()
        await child.wait()
        (part,) = parts(tmp_path)
        kept = part.stat().st_size
        assert kept and not (tmp_path / "m.gguf").exists()
        files.hold = None
        wanted = Wanted(
            f"{url}/big", "The hub", checksum=Checksum("sha256", sha),
            trusted=frozenset({origin_of(url)}),
        )  # fmt: skip
        got = await Downloader(fetch, limits(), lambda _: PLENTY).download(
            wanted, tmp_path / "m.gguf", Told()
        )
    assert got.resumed == kept
    assert files.ranges == [None, f"bytes={kept}-"]
    assert (tmp_path / "m.gguf").read_bytes() == BIG
