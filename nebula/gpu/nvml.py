"""Reads NVIDIA cards through NVML; a machine without one, or a driver that fails, says so."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import structlog
from pydantic import BaseModel, ConfigDict

from nebula.gpu.snapshot import GpuProcess, GpuReading

log = structlog.get_logger()
T = TypeVar("T")

NO_GPU = "There is no NVIDIA GPU here"
# A wedged driver blocks its callers for good; a read takes a few milliseconds.
_SECONDS = 5.0
_SILENT = "The NVIDIA driver does not answer; see dmesg, or restart the machine"


class NvmlReading(BaseModel):
    """The cards NVML sees; `problem` says why there are none."""

    model_config = ConfigDict(frozen=True)

    gpus: tuple[GpuReading, ...] = ()
    problem: str = ""
    driver: str | None = None
    cuda: str | None = None
    """The newest CUDA that the driver can run."""


def _pynvml() -> ModuleType:
    import pynvml

    return pynvml  # type: ignore[no-any-return]


class Nvml:
    """NVML of this machine, initialised on first use and again after an error."""

    def __init__(self, library: Callable[[], Any] = _pynvml) -> None:
        """Take what imports nvidia-ml-py's `pynvml` module."""
        self._library = library
        self._lock = threading.Lock()

    async def read(self) -> NvmlReading:
        """Read every card in a thread; never raises for the driver's troubles."""
        try:
            async with asyncio.timeout(_SECONDS):
                return await asyncio.to_thread(self.read_now)
        except TimeoutError:
            return NvmlReading(problem=_SILENT)

    def present(self) -> bool:
        """Say whether this machine has an NVIDIA card (blocking)."""
        return bool(self.read_now().gpus)

    def read_now(self) -> NvmlReading:
        """Read every card, blocking."""
        nvml = self._library()
        # NVML counts its users per process; one reader at a time keeps init and shutdown paired.
        if not self._lock.acquire(timeout=_SECONDS):
            return NvmlReading(problem=_SILENT)
        try:
            return _read(nvml)
        finally:
            self._lock.release()


def _read(nvml: Any) -> NvmlReading:
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return NvmlReading(problem=_absent(nvml, error))
    try:
        gpus = tuple(_cards(nvml))
        driver = _asked(nvml, nvml.nvmlSystemGetDriverVersion)
        cuda = _asked(nvml, nvml.nvmlSystemGetCudaDriverVersion_v2)
    except nvml.NVMLError as error:
        log.warning("NVML failed", error=str(error))
        return NvmlReading(problem=f"The NVIDIA driver does not answer: {error}")
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()
    return NvmlReading(
        gpus=gpus,
        problem="" if gpus else NO_GPU,
        driver=_text(driver),
        cuda=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None,
    )


def _absent(nvml: Any, error: Exception) -> str:
    missing = (nvml.NVMLError_LibraryNotFound, nvml.NVMLError_DriverNotLoaded)
    if isinstance(error, missing):
        return NO_GPU
    return f"The NVIDIA driver does not answer: {error}"


def _cards(nvml: Any) -> Iterator[GpuReading]:
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
        except nvml.NVMLError as error:
            # A card that fell off the bus must not hide the others.
            log.warning("card not readable", index=index, error=str(error))
            yield GpuReading(index=index, source="nvml")
            continue
        yield _card(nvml, index, handle)


def _card(nvml: Any, index: int, handle: Any) -> GpuReading:
    memory = _memory(nvml, handle)
    rates = _asked(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    milliwatts = _asked(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    heat = _asked(nvml, lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
    return GpuReading(
        index=index,
        name=_text(_asked(nvml, lambda: nvml.nvmlDeviceGetName(handle))),
        uuid=_text(_asked(nvml, lambda: nvml.nvmlDeviceGetUUID(handle))),
        vram_total=memory.total,
        vram_used=memory.used,
        unified=memory.unified,
        utilization=None if rates is None else rates.gpu / 100,
        temperature=None if heat is None else float(heat),
        power=None if milliwatts is None else milliwatts / 1000,
        processes=tuple(
            GpuProcess(pid=pid, name=_process_name(pid), vram=vram)
            for pid, vram in sorted(_processes(nvml, handle).items())
        ),
        source="nvml",
    )


class Memory(NamedTuple):
    """Bytes of a card; `unified` says that it shares the computer's."""

    total: int | None = None
    used: int | None = None
    unified: bool = False


def _memory(nvml: Any, handle: Any) -> Memory:
    """Return a card's memory: its own, its slices' (MIG), or the computer's that it shares."""
    sliced = bool((_asked(nvml, lambda: nvml.nvmlDeviceGetMigMode(handle)) or [0])[0])
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError_NotSupported:
        # Cards without memory of their own (GB10, Jetson) have no figures of it.
        return Memory() if sliced else _computers_memory()
    except nvml.NVMLError:
        # In a container with one slice of a card, the whole card is not ours to see.
        return _of_slices(nvml, handle) if sliced else Memory()
    if not memory.total:
        return _computers_memory()
    return Memory(int(memory.total), int(memory.total - memory.free))


def _computers_memory() -> Memory:
    import psutil

    memory = psutil.virtual_memory()
    return Memory(memory.total, memory.total - memory.available, unified=True)


def _of_slices(nvml: Any, handle: Any) -> Memory:
    """Return the memory of the slices that this process may see, as one."""
    count = _asked(nvml, partial(nvml.nvmlDeviceGetMaxMigDeviceCount, handle)) or 0
    asked = (_asked(nvml, partial(_slice, nvml, handle, index)) for index in range(count))
    found = [memory for memory in asked if memory is not None]
    if not found:
        return Memory()
    return Memory(sum(int(m.total) for m in found), sum(int(m.total - m.free) for m in found))


def _slice(nvml: Any, handle: Any, index: int) -> Any:
    return nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index))


def _processes(nvml: Any, handle: Any) -> dict[int, int | None]:
    """Return what each process holds; None where the driver does not say (Windows, WSL2)."""
    held: dict[int, int | None] = {}
    for kind in ("Compute", "Graphics"):
        listed: dict[int, int | None] = {}
        for found in _asked(nvml, partial(_running, nvml, kind, handle)) or ():
            # On a card in slices a process is listed once for each slice it uses.
            so_far, more = listed.get(found.pid, 0), found.usedGpuMemory
            listed[found.pid] = None if so_far is None or more is None else so_far + more
        for pid, vram in listed.items():
            # A program that draws and computes is in both lists, with all it holds in each.
            held[pid] = max(filter(None, (held.get(pid), vram)), default=vram)
    return held


def _running(nvml: Any, kind: str, handle: Any) -> Any:
    """Return a list of processes; drivers before 510 know only its second version."""
    try:
        return getattr(nvml, f"nvmlDeviceGet{kind}RunningProcesses_v3")(handle)
    except nvml.NVMLError_FunctionNotFound:
        return getattr(nvml, f"nvmlDeviceGet{kind}RunningProcesses_v2")(handle)


def _asked(nvml: Any, call: Callable[[], T]) -> T | None:
    """Return one figure; None when this card or driver does not give it."""
    try:
        return call()
    except nvml.NVMLError:
        return None


def _text(value: Any) -> str | None:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _process_name(pid: int) -> str | None:
    import psutil

    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return None
