"""Takes a database out as one stream, and puts such a stream into an empty one.

PostgreSQL's own programs from the wheel do it, so that it fits another machine and a newer server.
"""

import asyncio
import os
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from nebula.db.engine import plain_url
from nebula.db.pg_programs import PgPrograms
from nebula.errors import UpstreamUnavailable

HEAD = b"PGDMP"
"""What a dump begins with."""
_EXTENSIONS = ("vector", "pg_trgm", "unaccent")
_PIECE = 1 << 20
_SAID = 8 * 1024


async def dump(url: str, *, snapshot: str) -> AsyncGenerator[bytes, None]:
    """Yield a dump of everything in a database, as an exported snapshot shows it.

    Close it (`contextlib.aclosing`) where it is not read to its end.

    Raises:
        UpstreamUnavailable: when pg_dump fails, such as at a server newer than itself.
    """
    # Extensions belong to the server: only a superuser could put them back with their comments.
    options = ("--format=custom", "--exclude-extension=*", "--lock-wait-timeout=30s")
    async with _running("pg_dump", url, *options, f"--snapshot={snapshot}") as (process, told):
        assert process.stdout is not None
        while piece := await process.stdout.read(_PIECE):
            yield piece
        await _ended("pg_dump", process, told)


async def load(url: str, pieces: AsyncIterator[bytes]) -> None:
    """Put a dump into an empty database, whole or not at all; everything belongs to its role.

    Raises:
        UpstreamUnavailable: when an extension is missing or pg_restore fails; nothing of the dump is in the database then.
    """
    await _make_extensions(url)
    options = ("--no-owner", "--no-privileges", "--single-transaction")
    async with _running("pg_restore", url, *options) as (process, told):
        assert process.stdin is not None
        # One that gives up early stops reading; why stands in what it says.
        with suppress(ConnectionError):
            async for piece in pieces:
                process.stdin.write(piece)
                await process.stdin.drain()
        process.stdin.close()
        await _ended("pg_restore", process, told)


async def _make_extensions(url: str) -> None:
    try:
        async with await psycopg.AsyncConnection.connect(
            plain_url(url), autocommit=True, connect_timeout=10
        ) as connection:
            for name in map(sql.Identifier, _EXTENSIONS):
                await connection.execute(sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(name))
    except psycopg.Error as error:
        raise UpstreamUnavailable(
            f"The database cannot be prepared: {str(error).strip()}",
            hint="Let a superuser run in it: CREATE EXTENSION vector; CREATE EXTENSION pg_trgm; "
            "CREATE EXTENSION unaccent.",
        ) from error


@asynccontextmanager
async def _running(
    name: str, url: str, *options: str
) -> AsyncIterator[tuple[Process, "asyncio.Task[str]"]]:
    """Start one of the programs and make sure of its end; the password is no argument."""
    given = {key: str(value) for key, value in conninfo_to_dict(plain_url(url)).items()}
    password = given.pop("password", None)
    kept = {
        key: value
        for key, value in os.environ.items()
        if key in {"PATH", "HOME"} or key.startswith("PG")
    }
    secret = {} if password is None else {"PGPASSWORD": password}
    reads = name == "pg_restore"
    process = await asyncio.create_subprocess_exec(
        PgPrograms(Path(os.devnull)).folder / name, f"--dbname={make_conninfo(**given)}", *options,
        stdin=PIPE if reads else DEVNULL, stdout=DEVNULL if reads else PIPE, stderr=PIPE,
        env={**kept, "LC_ALL": "C.UTF-8", "PGCONNECT_TIMEOUT": "10", **secret},
        cwd="/",
    )  # fmt: skip
    assert process.stderr is not None
    told = asyncio.create_task(_last_words(process.stderr))
    try:
        yield process, told
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await told


async def _ended(name: str, process: Process, told: "asyncio.Task[str]") -> None:
    if await process.wait() == 0:
        return
    raise UpstreamUnavailable(
        f"{name} failed: {(await told)[-600:] or 'it did not say why'}",
        hint="Look whether the database answers and is not newer than this program's PostgreSQL.",
    )


async def _last_words(stream: asyncio.StreamReader) -> str:
    kept = b""
    while piece := await stream.read(_SAID):
        kept = (kept + piece)[-_SAID:]
    return kept.decode("utf-8", "replace").strip()
