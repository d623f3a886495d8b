"""Starts the process that holds memory of a card, tells it what to do, and ends it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from nebula.errors import UpstreamUnavailable
from nebula.gpu.snapshot import GpuReading
from nebula.packages import checkout

HOLDER = (sys.executable, "-m", "nebula.gpu.check.holder")
_SECONDS = 30.0
_HINTS = (
    (
        "is not here",
        "Install NVIDIA's driver; in a container pass the card in with compute rights, "
        "as with `docker run --gpus all` and NVIDIA_DRIVER_CAPABILITIES=compute,utility.",
    ),
    ("OUT_OF_MEMORY", "Other programs took the memory meanwhile; try a smaller --size."),
    ("", "Does `nvidia-smi` show the card? After an update of the driver, restart the machine."),
)


class Holder:
    """The process, seen from outside."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Take the process; its first answer is still to be read."""
        self._process = process

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    async def hold(self, size: int) -> None:
        """Have it take so many bytes more."""
        await self._tell(hold=size)

    async def free(self) -> None:
        """Have it give back all it took."""
        await self._tell(free=1)

    async def listen(self, port: int) -> None:
        """Have it listen on a port of this machine, as a service does."""
        await self._tell(listen=port)

    async def kill(self) -> None:
        """End it as `kill -9` does, in the middle of its work."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def _tell(self, **words: int) -> dict[str, int]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words).encode() + b"\n")
        return await self.heard()

    async def heard(self) -> dict[str, int]:
        """Return its answer.

        Raises:
            UpstreamUnavailable: as the CUDA driver says, or when it ended or says nothing.
        """
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(_SECONDS):
                line = await self._process.stdout.readline()
        except TimeoutError as error:
            said = f"The CUDA driver did not answer within {_SECONDS:g} s"
            raise UpstreamUnavailable(said, hint=_HINTS[-1][1]) from error
        if not line:
            code = await self._process.wait()
            raise UpstreamUnavailable(f"The program on the card ended with the code {code}")
        answer: dict[str, int] = json.loads(line)
        if "error" in answer:
            said = str(answer["error"])
            hint = next(hint for part, hint in _HINTS if part in said)
            raise UpstreamUnavailable(f"CUDA refuses: {said}", hint=hint)
        return answer


@asynccontextmanager
async def holding(card: GpuReading, argv: Sequence[str] = HOLDER) -> AsyncIterator[Holder]:
    """Start a process with a context on a card, and end it afterwards.

    Raises:
        UpstreamUnavailable: when the CUDA driver is not here, or refuses.
    """
    # CUDA sorts cards by speed, NVML by their place: only the id means the same to both.
    chosen = {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": card.uuid or str(card.index),
    }
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | chosen,
        cwd=checkout(),
    )
    holder = Holder(process)
    try:
        await holder.heard()
        yield holder
    finally:
        await holder.kill()
