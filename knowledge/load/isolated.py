"""Reads a document in a process of its own, so that a hostile file can only end that process."""

import asyncio
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from knowledge.document import Loaded, display_name
from knowledge.load.read import ISOLATED, Limits, read
from nebula.errors import InvalidInput, NebulaError, TimedOut, TooLarge

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
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "knowledge.load.reader",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL, cwd=_ROOT, env=_environment(),
    )  # fmt: skip
    try:
        async with asyncio.timeout(seconds):
            answer, _ = await process.communicate(request + b"\n" + body)
    except TimeoutError as error:
        raise TimedOut(
            f"Reading {display_name(source)} took longer than {seconds:.0f} s",
            hint="The file may be damaged; save it again and retry.",
        ) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return _outcome(answer, process.returncode, source)


def _environment() -> dict[str, str]:
    """Return only what Python needs to start: the parser gets no secrets."""
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    return {**kept, "PYTHONPATH": str(_ROOT), "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}


def _outcome(answer: bytes, status: int | None, source: str) -> Loaded:
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
