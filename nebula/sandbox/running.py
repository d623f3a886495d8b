"""The processes of one job, as bubblewrap starts them, and their end."""

import asyncio
import os
import re
import signal
from asyncio.subprocess import Process
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from nebula.errors import OutcomeUnknown
from nebula.sandbox.mounts import LAUNCHER

_DYING_SECONDS = 10.0
OWNER = "owner="
"""Before the number of the process that started a job, among its launcher's arguments."""
_CHILD = re.compile(rb'"child-pid": (\d+)')
"""What `--info-fd` begins with; the rest of its JSON comes in further pieces."""


@dataclass(frozen=True)
class Running:
    """bubblewrap's process, and the pipe through which it tells whom it started."""

    process: Process
    told: int

    async def end(self) -> None:
        """Kill what still runs, and wait until all of it is gone.

        The kernel kills the others of a namespace with its first process, which goes last.
        bubblewrap itself goes earlier, without waiting for that, and must not be killed: while it
        prepares, what it started would not notice, and run on.
        """
        first = None
        try:
            first = await self._first()
            if self.process.returncode is None:
                await self._kill(first)
            if first is not None:
                await _readable(first)
        except TimeoutError as error:
            raise OutcomeUnknown(
                "A sandboxed job was killed, and is not gone yet",
                hint="It may wait for a disk or network folder; look for processes named bwrap.",
            ) from error
        finally:
            if first is not None:
                os.close(first)

    async def _kill(self, first: int | None) -> None:
        with suppress(ProcessLookupError):
            if first is None:
                self.process.kill()
            else:
                signal.pidfd_send_signal(first, signal.SIGKILL)
        async with asyncio.timeout(_DYING_SECONDS):
            await self.process.wait()

    async def _first(self) -> int | None:
        """Return a descriptor of the namespace's first process, None when there is none."""
        await _readable(self.told)  # also when bubblewrap ended without starting anything
        found = _CHILD.search(os.read(self.told, 4096))
        return _opened(int(found[1])) if found else None


def sweep() -> None:
    """Kill what bubblewrap left when its own parent was killed in the middle of a start.

    Such a process waits for ever for a bubblewrap that is gone; no job was started in it.
    """
    for process in psutil.process_iter(["name", "cmdline"]):
        words = process.info["cmdline"] or []
        if process.info["name"] != "bwrap" or LAUNCHER not in words:
            continue
        owners = [int(word.removeprefix(OWNER)) for word in words if word.startswith(OWNER)]
        if owners and not psutil.pid_exists(owners[0]):
            with suppress(psutil.Error):
                process.kill()


def _opened(pid: int) -> int | None:
    with suppress(ProcessLookupError, FileNotFoundError):
        first = os.pidfd_open(pid)
        if Path(f"/proc/{pid}/comm").read_text().strip() == "bwrap":
            return first
        os.close(first)  # the number is somebody else's by now
    return None


async def _readable(descriptor: int) -> None:
    """Wait until there is something to read, which for a process is its end."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        async with asyncio.timeout(_DYING_SECONDS):
            await ready.wait()
    finally:
        loop.remove_reader(descriptor)
