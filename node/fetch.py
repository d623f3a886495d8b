"""Steps of recipes: python -m node.fetch download URL FILE [--sums URL | --sha256 HEX], … unpack."""

import argparse
import hashlib
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from node.detect.network import is_loopback

_TRIES = 5
_CHUNK = 1024 * 1024
_LONGEST_SUMS = 1024 * 1024


class Failed(Exception):
    """A step that did not work, in a sentence."""


def download(url: str, file: Path, *, sums: str = "", sha256: str = "") -> None:
    """Download a file, going on where a broken connection stopped, and check its SHA-256.

    `sums` is the address of a list `HEX  NAME` of the same release.
    """
    for address in filter(None, (url, sums)):
        parts = urlsplit(address)
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise Failed(f"{address} is not https")
    timeout = httpx.Timeout(60.0, connect=15.0)
    with httpx.Client(follow_redirects=True, timeout=timeout) as http:
        wanted = sha256 or (
            _listed(http, sums, urlsplit(url).path.rpartition("/")[2]) if sums else ""
        )
        partial = file.with_name(f"{file.name}.partial")
        for attempt in range(1, _TRIES + 1):
            try:
                _get(http, url, partial)
                break
            except httpx.HTTPError as error:
                _say(f"try {attempt} of {_TRIES}: {type(error).__name__}")
                if attempt == _TRIES or isinstance(error, httpx.HTTPStatusError):
                    raise Failed(f"{url} could not be downloaded: {error}") from error
    if wanted:
        with partial.open("rb") as data:
            found = hashlib.file_digest(data, "sha256").hexdigest()
        if found != wanted.lower():
            partial.unlink()
            raise Failed(f"{file.name} is not what was published: SHA-256 {found}")
    partial.replace(file)


def _listed(http: httpx.Client, url: str, name: str) -> str:
    try:
        answer = http.get(url).raise_for_status()
    except httpx.HTTPError as error:
        raise Failed(f"{url} could not be read: {error}") from error
    for line in answer.text[:_LONGEST_SUMS].splitlines():
        value, _, listed = line.partition(" ")
        if listed.strip().lstrip("*").removeprefix("./") == name:
            return value
    raise Failed(f"{url} does not list {name}")


def _get(http: httpx.Client, url: str, partial: Path) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with http.stream("GET", url, headers=headers) as answer:
        if answer.status_code == 416:
            return
        answer.raise_for_status()
        mode = "ab" if answer.status_code == 206 else "wb"
        total = int(answer.headers.get("content-length", 0)) + (have if mode == "ab" else 0)
        with partial.open(mode) as file:
            told = -1
            for chunk in answer.iter_bytes(_CHUNK):
                file.write(chunk)
                share = 100 * file.tell() // total if total else 0
                if share // 5 != told:
                    told = share // 5
                    _say(f"{share} % of {total / 1024**2:.1f} MB")


def unpack(file: Path, folder: Path) -> None:
    """Unpack an archive into a folder; nothing of it may land outside."""
    folder.mkdir(parents=True, exist_ok=True)
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            archive.extractall(folder)  # noqa: S202 - zipfile drops what leads outside
    else:
        with tarfile.open(file) as archive:
            archive.extractall(folder, filter="data")
    file.unlink()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run one step; a failure is one line and the code 1."""
    parser = argparse.ArgumentParser(prog="node.fetch")
    steps = parser.add_subparsers(dest="step", required=True)
    get = steps.add_parser("download")
    get.add_argument("url")
    get.add_argument("file", type=Path)
    get.add_argument("--sums", default="")
    get.add_argument("--sha256", default="")
    open_up = steps.add_parser("unpack")
    open_up.add_argument("file", type=Path)
    open_up.add_argument("folder", type=Path)
    given = parser.parse_args()
    try:
        if given.step == "download":
            download(given.url, given.file, sums=given.sums, sha256=given.sha256)
        else:
            unpack(given.file, given.folder)
    except (Failed, OSError, shutil.Error, tarfile.TarError, zipfile.BadZipFile) as error:
        _say(f"failed: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
