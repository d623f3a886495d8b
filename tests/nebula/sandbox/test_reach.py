"""The one place outside that a job without a network may talk to."""

import asyncio
import tempfile
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nebula.errors import UpstreamUnavailable
from nebula.sandbox.job import Finished, Limits, Sandboxed
from nebula.sandbox.python import interpreter
from nebula.sandbox.reach import Opens
from nebula.sandbox.run import run

pytestmark = pytest.mark.sandbox

_OPEN = """
import socket
def out():
    s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect("/run/reach/out"); return s
def tried(address):
    try:
        socket.create_connection(address, timeout=2).close(); return "connected"
    except OSError:
        return "refused"
"""


async def python(source: str, reach: Opens | None) -> Finished:
    found = interpreter()
    argv = (found.program, "-I", "-S", "-c", _OPEN + source)
    return await run(Sandboxed(argv, read=found.folders, reach=reach, limits=Limits(seconds=30)))


@asynccontextmanager
async def echo() -> AsyncIterator[tuple[Opens, int, list[int]]]:
    """Yield the way to an echo on loopback, its port, and how many were open at once."""
    now, most = 0, [0]

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        nonlocal now
        now += 1
        most[0] = max(most[0], now)
        while piece := await reader.read(1000):
            writer.write(piece.upper())
        now -= 1
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    @asynccontextmanager
    async def opens() -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
        streams = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield streams
        finally:
            streams[1].close()

    try:
        yield opens, port, most
    finally:
        server.close()


async def test_a_job_talks_to_its_one_place_and_to_nothing_else(tmp_path: Path) -> None:
    async with echo() as (opens, port, _), echo() as (_, other, _):
        finished = await python(
            f"""
s = out(); s.sendall(b"word"); print(s.recv(10).decode())
print(tried(("127.0.0.1", {port})), tried(("127.0.0.1", {other})), tried(("192.0.2.1", 443)))
""",
            opens,
        )
    assert finished.text.split() == ["WORD", "refused", "refused", "refused"], finished.stderr


async def test_a_job_that_was_given_no_place_finds_none() -> None:
    finished = await python("import os; print(os.path.exists('/run/reach'))", None)
    assert finished.text.strip() == "False"


async def test_programs_reach_it_through_the_proxy_whatever_they_ask_for() -> None:
    source = r"""
import os, socket
s = socket.create_connection(("127.0.0.1", 1080), timeout=5)
s.sendall(b"\5\1\0"); print(s.recv(2) == b"\5\0")
s.sendall(b"\5\1\0\3\x0cexample.test\1\xbb"); print(s.recv(10)[:2] == b"\5\0")
s.sendall(b"through"); print(s.recv(10).decode())
"""
    found = interpreter()
    proxy = ("perl", "/run/sandbox/reach.pl", "proxy", found.program, "-I", "-S", "-c", source)
    async with echo() as (opens, _, _):
        finished = await run(Sandboxed(proxy, read=found.folders, reach=opens))
    assert finished.text.split() == ["True", "True", "THROUGH"], finished.stderr


async def test_a_program_without_sockets_is_joined_by_its_input_and_output() -> None:
    argv = ("/bin/sh", "-c", "echo asked | perl /run/sandbox/reach.pl any arguments")
    async with echo() as (opens, _, _):
        finished = await run(Sandboxed(argv, reach=opens))
    assert finished.text == "ASKED\n"


async def test_only_a_few_streams_are_open_at_once() -> None:
    async with echo() as (opens, _, most):
        finished = await python(
            """
streams = []
for _ in range(40):
    s = out(); streams.append(s)
    try:
        s.sendall(b"x"); s.recv(1)
    except OSError:
        pass
print("done")
""",
            opens,
        )
    assert finished.text.strip() == "done" and most == [8]


async def test_a_place_that_cannot_be_opened_ends_the_stream_and_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    @asynccontextmanager
    async def opens() -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
        raise UpstreamUnavailable("nobody there")
        yield

    finished = await python("s = out(); print(s.recv(1))", opens)
    assert finished.text.strip() == "b''"
    assert list(tmp_path.iterdir()) == []
