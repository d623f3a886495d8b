"""Reads NVIDIA cards through NVML; a machine without one, or a driver that fails, says so."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import structlog
from pydantic import BaseModel, ConfigDict

from nebula.gpu.snapshot import GpuProcess, GpuReading
from node.nvml import cuda_version, driver_version, figures

log = structlog.get_logger()

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
        driver, cuda = driver_version(nvml), cuda_version(nvml)
    except nvml.NVMLError as error:
        log.warning("NVML failed", error=str(error))
        return NvmlReading(problem=f"The NVIDIA driver does not answer: {error}")
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()
    return NvmlReading(
        gpus=gpus,
        problem="" if gpus else NO_GPU,
        driver=driver,
        cuda=cuda,
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
    seen = figures(nvml, handle)
    return GpuReading(
        index=index,
        name=seen.name,
        uuid=seen.uuid,
        vram_total=seen.memory.total,
        vram_used=seen.memory.used,
        unified=seen.memory.unified,
        utilization=seen.utilization,
        temperature=seen.temperature,
        power=seen.power,
        processes=tuple(
            GpuProcess(pid=pid, name=_process_name(pid), vram=vram)
            for pid, vram in sorted(seen.held.items())
        ),
        source="nvml",
    )


def _process_name(pid: int) -> str | None:
    import psutil

    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return None
