"""Reads NVIDIA cards through NVML; a machine without one, or a driver that fails, says so."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, TypeVar

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
    except nvml.NVMLError as error:
        log.warning("NVML failed", error=str(error))
        return NvmlReading(problem=f"The NVIDIA driver does not answer: {error}")
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()
    return NvmlReading(gpus=gpus, problem="" if gpus else NO_GPU)


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
    def ask(call: Callable[[], T]) -> T | None:
        """Return one figure; None when this card or driver does not give it."""
        try:
            return call()
        except nvml.NVMLError:
            return None

    memory = ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    rates = ask(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    milliwatts = ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    heat = ask(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
    name = ask(lambda: nvml.nvmlDeviceGetName(handle))
    processes: dict[int, GpuProcess] = {}
    for list_them in (
        nvml.nvmlDeviceGetComputeRunningProcesses,
        nvml.nvmlDeviceGetGraphicsRunningProcesses,
    ):
        for found in ask(lambda list_them=list_them: list_them(handle)) or ():  # type: ignore[misc]
            processes[found.pid] = GpuProcess(
                pid=found.pid, name=_process_name(found.pid), vram=found.usedGpuMemory
            )
    return GpuReading(
        index=index,
        name=name.decode() if isinstance(name, bytes) else name,
        vram_total=None if memory is None else int(memory.total),
        vram_used=None if memory is None else int(memory.total - memory.free),
        utilization=None if rates is None else rates.gpu / 100,
        temperature=None if heat is None else float(heat),
        power=None if milliwatts is None else milliwatts / 1000,
        processes=tuple(sorted(processes.values(), key=lambda p: p.pid)),
        source="nvml",
    )


def _process_name(pid: int) -> str | None:
    import psutil

    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return None
