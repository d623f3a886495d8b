"""Finds what a source names (a file, a folder, a page, a repository) and reads it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from knowledge.document import Loaded
from knowledge.load.clone import CloneLimits, cloned
from knowledge.load.folder import walk
from knowledge.load.isolated import read_safely
from knowledge.load.kinds import kind_of_name
from knowledge.load.read import Limits
from knowledge.load.repository import address_of, looks_like_repository, parse_remote
from knowledge.load.way import Way
from knowledge.load.web import fetch_page
from knowledge.roots import Roots, read_file
from knowledge.settings import KnowledgeSettings
from nebula.errors import InvalidInput, NebulaError

if TYPE_CHECKING:
    from nebula.http import SafeFetch


class SourceKind(StrEnum):
    """What a source is."""

    FILE = "file"
    FOLDER = "folder"
    URL = "url"
    REPOSITORY = "repository"


@dataclass(frozen=True)
class Refused:
    """A file of a folder or repository that could not be read, and why."""

    source: str
    error: NebulaError


@dataclass(frozen=True)
class Batch:
    """What a source turned out to be; `documents` reads one after the other."""

    kind: SourceKind
    source: str
    """The source's canonical name: a real path, or an address."""
    names: tuple[str, ...]
    """The sources of all its documents, those included that will be refused."""
    skipped: int
    documents: AsyncIterator[Loaded | Refused]


class Sources:
    """Reads sources within the limits that the settings give."""

    def __init__(
        self, settings: KnowledgeSettings, home: Path, fetch: "SafeFetch", *, allow_private: bool
    ) -> None:
        """Take the limits, the data folder and the guarded fetcher."""
        self._settings = settings
        self._roots = Roots(home, settings.roots)
        self._fetch = fetch
        self._allow_private = allow_private
        self._limits = Limits(
            max_characters=settings.max_characters,
            max_pages=settings.max_pages,
            max_unpacked=settings.max_file_bytes * 10,
        )

    @asynccontextmanager
    async def open(self, source: str, kind: SourceKind | None = None) -> AsyncIterator[Batch]:
        """Open a source; what reading it needed (a clone) is gone afterwards.

        Raises:
            InvalidInput, NotFound, PermissionDenied, TooLarge, UpstreamRejected,
            UpstreamUnavailable, TimedOut: when the source as a whole cannot be read.
        """
        source = source.strip()
        kind = kind or _guess(source)
        async with AsyncExitStack() as stack:
            if kind is SourceKind.URL:
                yield await self._page(source)
            elif kind is SourceKind.REPOSITORY and _is_remote(source):
                yield await self._remote(stack, source)
            else:
                yield await self._local(stack, source, kind)

    async def _remote(self, stack: AsyncExitStack, source: str) -> Batch:
        remote = parse_remote(source, allow_private=self._allow_private)
        address = await address_of(remote, allow_private=self._allow_private)
        tree = await stack.enter_async_context(cloned(Way(remote, address), self._clone))
        return await self._tree(tree, source.rstrip("/"), SourceKind.REPOSITORY)

    async def _local(self, stack: AsyncExitStack, source: str, kind: SourceKind | None) -> Batch:
        path = await asyncio.to_thread(self._roots.resolve, source)
        is_folder = await asyncio.to_thread(path.is_dir)
        fitting = {SourceKind.FOLDER, SourceKind.REPOSITORY} if is_folder else {SourceKind.FILE}
        if kind is not None and kind not in fitting:
            raise InvalidInput(f"{source} is a {'folder' if is_folder else 'file'}")
        if not is_folder:
            return await self._file(path)
        is_checkout = await asyncio.to_thread(_is_checkout, path)
        if kind is SourceKind.REPOSITORY or (kind is None and is_checkout):
            tree = await stack.enter_async_context(cloned(path, self._clone))
            return await self._tree(tree, str(path), SourceKind.REPOSITORY)
        return await self._tree(path, str(path), SourceKind.FOLDER)

    @property
    def _clone(self) -> CloneLimits:
        return CloneLimits(self._settings.max_clone_bytes, self._settings.clone_seconds)

    async def _page(self, url: str) -> Batch:
        body, kind = await fetch_page(
            self._fetch,
            url,
            max_bytes=self._settings.max_file_bytes,
            seconds=self._settings.read_seconds,
        )
        document = await self._read(body, kind, url)
        return Batch(SourceKind.URL, url, (url,), 0, _one(document))

    async def _file(self, path: Path) -> Batch:
        body = await asyncio.to_thread(read_file, path, max_bytes=self._settings.max_file_bytes)
        document = await self._read(body, kind_of_name(path.name) or "text", str(path))
        return Batch(SourceKind.FILE, str(path), (str(path),), 0, _one(document))

    async def _tree(self, root: Path, source: str, kind: SourceKind) -> Batch:
        walked = await asyncio.to_thread(walk, root, max_files=self._settings.max_files)
        if not walked.entries:
            raise InvalidInput(
                f"There is nothing in {source} that can be read",
                hint="Knowledge reads Markdown, text, code, HTML, PDF and docx.",
            )

        names = tuple(f"{source}/{entry.inside}" for entry in walked.entries)

        async def documents() -> AsyncIterator[Loaded | Refused]:
            for entry, named in zip(walked.entries, names, strict=True):
                try:
                    body = await asyncio.to_thread(
                        read_file, entry.path, max_bytes=self._settings.max_file_bytes
                    )
                    yield await self._read(body, entry.kind, named)
                except NebulaError as error:
                    yield Refused(named, error)

        return Batch(kind, source, names, walked.skipped, documents())

    async def _read(self, body: bytes, kind: str, source: str) -> Loaded:
        return await read_safely(
            body, kind, source, self._limits, seconds=self._settings.read_seconds
        )


async def _one(document: Loaded) -> AsyncIterator[Loaded | Refused]:
    yield document


def _guess(source: str) -> SourceKind | None:
    """Tell pages and repositories by their address; None is a path, which has to be looked at."""
    if looks_like_repository(source):
        return SourceKind.REPOSITORY
    return SourceKind.URL if source.lower().startswith(("http://", "https://")) else None


def _is_remote(source: str) -> bool:
    return "://" in source or looks_like_repository(source)


def _is_checkout(path: Path) -> bool:
    """Say whether a folder is a repository; one whose data lies elsewhere is just a folder."""
    data = path / ".git"
    inside = data if data.is_dir() and not data.is_symlink() else path
    return (inside / "HEAD").is_file() and (inside / "objects").is_dir()
