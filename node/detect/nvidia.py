"""NVIDIA cards through NVML (https://docs.nvidia.com/deploy/nvml-api/): figures per card and process."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any, TypeVar

from node.protocol import Card, CardProcess

T = TypeVar("T")


def _pynvml() -> ModuleType:
    import pynvml

    return pynvml  # type: ignore[no-any-return]


def cards(library: Callable[[], Any] = _pynvml) -> tuple[tuple[Card, ...], str | None, str]:
    """Return the cards, the CUDA version of the driver, and what is wrong (blocking)."""
    try:
        nvml = library()
        nvml.nvmlInit()
    except ImportError:
        return (), None, "nvidia-ml-py is not installed"
    except nvml.NVMLError as error:
        absent = (nvml.NVMLError_LibraryNotFound, nvml.NVMLError_DriverNotLoaded)
        return (), None, "" if isinstance(error, absent) else f"The NVIDIA driver fails: {error}"
    try:
        driver = _text(_asked(nvml, nvml.nvmlSystemGetDriverVersion))
        found = tuple(_cards(nvml, driver))
        cuda = _asked(nvml, nvml.nvmlSystemGetCudaDriverVersion_v2)
        return found, f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None, ""
    except nvml.NVMLError as error:
        return (), None, f"The NVIDIA driver fails: {error}"
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def _cards(nvml: Any, driver: str | None) -> Iterator[Card]:
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = _asked(nvml, partial(nvml.nvmlDeviceGetHandleByIndex, index))
        # A card that fell off the bus must not hide the others.
        yield Card(index, driver=driver) if handle is None else _card(nvml, index, handle, driver)


def _card(nvml: Any, index: int, handle: Any, driver: str | None) -> Card:
    memory = _asked(nvml, lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    rates = _asked(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    milliwatts = _asked(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    heat = _asked(nvml, lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
    return Card(
        index=index,
        name=_text(_asked(nvml, lambda: nvml.nvmlDeviceGetName(handle))),
        driver=driver,
        vram_total=None if memory is None else int(memory.total),
        vram_used=None if memory is None else int(memory.total - memory.free),
        utilization=None if rates is None else rates.gpu / 100,
        temperature=None if heat is None else float(heat),
        power=None if milliwatts is None else milliwatts / 1000,
        processes=tuple(_processes(nvml, handle)),
    )


def _processes(nvml: Any, handle: Any) -> Iterator[CardProcess]:
    found: dict[int, CardProcess] = {}
    for name in ("Compute", "Graphics"):
        ask = getattr(nvml, f"nvmlDeviceGet{name}RunningProcesses")
        for running in _asked(nvml, partial(ask, handle)) or ():
            found[running.pid] = CardProcess(running.pid, vram=running.usedGpuMemory)
    yield from (found[pid] for pid in sorted(found))


def _asked(nvml: Any, call: Callable[[], T]) -> T | None:
    """Return one figure; None when this card or driver does not give it."""
    try:
        return call()
    except nvml.NVMLError:
        return None


def _text(value: Any) -> str | None:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
