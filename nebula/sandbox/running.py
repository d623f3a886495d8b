"""The processes of one job, as bubblewrap starts them, and their end."""

import asyncio
import json
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nebula.errors import OutcomeUnknown

_DYING_SECONDS = 10.0


@dataclass(frozen=True)
class Running:
    """bubblewrap's process, and the pipe through which it tells whom it started."""

    process: asyncio.subprocess.Process
    told: int

    async def end(self) -> None:
        """Kill what still runs, and wait until all of it is gone.

        The kernel kills the others of a namespace with its first process, which goes last.
        bubblewrap itself goes earlier: it does not wait for that.
        """
        first = self._first()
        try:
            if self.process.returncode is None:
                await self._kill(first)
            if first is not None:
                await _gone(first)
        finally:
            if first is not None:
                os.close(first)

    async def _kill(self, first: int | None) -> None:
        with suppress(ProcessLookupError):
            if first is None:
                self.process.kill()
            else:
                signal.pidfd_send_signal(first, signal.SIGKILL)
        try:
            async with asyncio.timeout(_DYING_SECONDS):
                await self.process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()

    def _first(self) -> int | None:
        """Return a descriptor of the namespace's first process, None when there is none."""
        with suppress(BlockingIOError, ProcessLookupError, FileNotFoundError):
            if answer := os.read(self.told, 4096):
                pid = int(json.loads(answer)["child-pid"])
                first = os.pidfd_open(pid)
                if Path(f"/proc/{pid}/comm").read_text().strip() == "bwrap":
                    return first
                os.close(first)  # the number is somebody else's by now
        return None


async def _gone(first: int) -> None:
    """Wait until a process has ended."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(first, ended.set)
    try:
        async with asyncio.timeout(_DYING_SECONDS):
            await ended.wait()
    except TimeoutError as error:
        raise OutcomeUnknown(
            "A sandboxed job was killed, and is not gone yet",
            hint="It may wait for a disk or network folder; look for processes named bwrap.",
        ) from error
    finally:
        loop.remove_reader(first)
