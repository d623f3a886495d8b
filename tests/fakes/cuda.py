"""The CUDA driver's library over a card in a file, which several processes share as they do a card.

`python -m tests.fakes.cuda FILE` is the program that holds memory, on this library.
"""

import ctypes
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from nebula.gpu.check import holder
from nebula.gpu.check.cuda import CudaError
from nebula.services.sizes import MIB

CONTEXT = 200 * MIB
_OUT_OF_MEMORY, _INVALID = 2, 1


class SharedCard:
    """A card whose memory many processes hold; what a dead one held is free again."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def set(self, **words: Any) -> None:
        """Say how the card is: its bytes in `total`, and how it misbehaves."""
        with self._open() as state:
            state.update(words)

    def used(self) -> int:
        """Return the bytes in use, as NVML does."""
        with self._open() as state:
            if "stuck" in state:
                return int(state["stuck"])
            return int(state.get("others", 0)) + sum(map(sum, state["held"].values()))

    def processes(self) -> dict[int, int | None]:
        """Return the processes with what they hold, as NVML lists them here."""
        with self._open() as state:
            match state.get("lists"):
                case "nothing":
                    return {}
                case "of the host":
                    return {2**22 + int(pid): sum(held) for pid, held in state["held"].items()}
                case "no memory":
                    return {int(pid): None for pid in state["held"]}
            return {int(pid): sum(held) for pid, held in state["held"].items()}

    def hold(self, size: int) -> bool:
        """Let this process hold so much more; False when it is not free."""
        with self._open() as state:
            used = int(state.get("others", 0)) + sum(map(sum, state["held"].values()))
            if used + size > state["total"]:
                return False
            state["held"].setdefault(str(os.getpid()), []).append(size)
            return True

    def free(self, place: int) -> None:
        """Let this process hold less."""
        with self._open() as state:
            if not state.get("leaks"):
                state["held"][str(os.getpid())][place] = 0

    @contextmanager
    def _open(self) -> Iterator[dict[str, Any]]:
        with self.file.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            state = json.loads(file.read() or '{"held": {}}')
            if not state.get("keeps_the_dead"):
                state["held"] = {p: h for p, h in state["held"].items() if _alive(int(p))}
            yield state
            file.seek(0)
            file.truncate()
            file.write(json.dumps(state))
            file.flush()


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class FakeCuda:
    """What `ctypes.CDLL("libcuda.so.1")` gives: functions that return a code."""

    def __init__(self, card: SharedCard) -> None:
        self.card = card
        self._context = False

    def cuInit(self, flags: Any) -> int:
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = 1
        return 0

    def cuDeviceGet(self, device: Any, ordinal: Any) -> int:
        device._obj.value = ordinal.value
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:
        context._obj.value = 0xC0
        return 0 if self.card.hold(CONTEXT) else _OUT_OF_MEMORY

    def cuCtxSetCurrent(self, context: Any) -> int:
        self._context = context.value == 0xC0
        return 0

    def cuMemGetInfo_v2(self, free: Any, total: Any) -> int:
        with self.card._open() as state:
            total._obj.value = state["total"]
        free._obj.value = total._obj.value - self.card.used()
        return 0

    def cuMemAlloc_v2(self, place: Any, size: Any) -> int:
        if not self._context:
            return _INVALID
        if not self.card.hold(size.value):
            return _OUT_OF_MEMORY
        with self.card._open() as state:
            place._obj.value = len(state["held"][str(os.getpid())]) - 1
        return 0

    def cuMemsetD8_v2(self, place: Any, value: Any, size: Any) -> int:
        return 0 if isinstance(size, ctypes.c_size_t) and place.value else _INVALID

    def cuCtxSynchronize(self) -> int:
        return 0

    def cuMemFree_v2(self, place: Any) -> int:
        self.card.free(place.value)
        return 0

    def cuDevicePrimaryCtxRelease_v2(self, device: Any) -> int:
        return 0

    def cuGetErrorName(self, code: Any, said: Any) -> int:
        said._obj.value = {_OUT_OF_MEMORY: b"CUDA_ERROR_OUT_OF_MEMORY"}.get(code.value)
        return 0


def _load() -> FakeCuda:
    if sys.argv[1] == "none":
        raise CudaError("libcuda.so.1 is not here")
    return FakeCuda(SharedCard(Path(sys.argv[1])))


if __name__ == "__main__":
    sys.exit(holder.main(_load))
