"""Reads a document in a process of its own, so that a hostile file can only end that process.

In the sandbox where this machine has every layer of it, else in a plain process.
"""

import asyncio
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from knowledge.document import Loaded, display_name
from knowledge.load.read import ISOLATED, Limits, read
from nebula.errors import InvalidInput, NebulaError, TimedOut, TooLarge
from nebula.sandbox.job import Ended, Sandboxed
from nebula.sandbox.job import Limits as Bounds
from nebula.sandbox.layers import whole
from nebula.sandbox.python import interpreter
from nebula.sandbox.run import run

_PER_CHARACTER, _FRAME = 12, 1024**2
"""Bytes that one character may take in the answer (two escapes of JSON), and all the rest."""
_ROOT = Path(__file__).resolve().parents[2]
_KNOWN: dict[str, type[NebulaError]] = {kind.code: kind for kind in (InvalidInput, TooLarge)}


async def read_safely(
    body: bytes, kind: str, source: str, limits: Limits, *, seconds: float
) -> Loaded:
    """Read one document, simple kinds in a thread and complex ones in a process.

    Raises:
        InvalidInput, TooLarge: as `read` does, and when the parser dies of the file.
        TimedOut: when reading takes longer than `seconds`.
    """
    if not body.strip():
        raise InvalidInput(f"{display_name(source)} is empty", hint="There is nothing to learn.")
    if kind not in ISOLATED:
        return await asyncio.to_thread(read, body, kind, source, limits)
    return await _in_process(body, kind, source, limits, seconds)


async def _in_process(
    body: bytes, kind: str, source: str, limits: Limits, seconds: float
) -> Loaded:
    request = json.dumps({"kind": kind, "source": source, "limits": asdict(limits)}).encode()
    # Knowledge works with nothing installed beside Python: a plain process where there is no
    # sandbox, which bounds what a parser takes but not what it may look at.
    read_in = _sandboxed if await whole() else _plain
    answer, status = await read_in(request + b"\n" + body, source, limits, seconds)
    return _outcome(answer, status, source)


def parser_job(request: bytes, limits: Limits, seconds: float) -> Sandboxed:
    """Return the parser as a job that sees Python and our code, and nothing else."""
    python = interpreter()
    return Sandboxed(
        (python.program, "-m", "knowledge.load.reader"),
        read=(*python.folders, _ROOT / "knowledge", _ROOT / "nebula"),
        environment=_environment(),
        stdin=request,
        limits=Bounds(seconds=seconds, output=_PER_CHARACTER * limits.max_characters + _FRAME),
    )


async def _sandboxed(
    request: bytes, source: str, limits: Limits, seconds: float
) -> tuple[bytes, int]:
    finished = await run(parser_job(request, limits, seconds))
    if finished.ended is Ended.TIMED_OUT:
        raise _too_slow(source, seconds)
    return finished.stdout, 1 if finished.output_cut else finished.exit_code


async def _plain(request: bytes, source: str, _: Limits, seconds: float) -> tuple[bytes, int]:
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "knowledge.load.reader",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL, cwd=_ROOT, env={**kept, **_environment()},
    )  # fmt: skip
    try:
        async with asyncio.timeout(seconds):
            answer, _stderr = await process.communicate(request)
    except TimeoutError as error:
        raise _too_slow(source, seconds) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return answer, process.returncode or 0


def _too_slow(source: str, seconds: float) -> TimedOut:
    return TimedOut(
        f"Reading {display_name(source)} took longer than {seconds:.0f} s",
        hint="The file may be damaged; save it again and retry.",
    )


def _environment() -> dict[str, str]:
    """Return only what Python needs to start: the parser gets no secrets."""
    return {"PYTHONPATH": str(_ROOT), "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}


def _outcome(answer: bytes, status: int, source: str) -> Loaded:
    if status != 0 or not answer:
        raise InvalidInput(
            f"{display_name(source)} cannot be read: the parser gave up on it",
            hint="It may be damaged, or need more memory than one document is given.",
        )
    told = json.loads(answer)
    if "error" in told:
        error = told["error"]
        raise _KNOWN.get(error["code"], InvalidInput)(error["detail"], hint=error.get("hint", ""))
    return Loaded.model_validate(told["document"])
