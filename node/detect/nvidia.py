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
    total, used = _memory(nvml, handle)
    rates = _asked(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    milliwatts = _asked(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    heat = _asked(nvml, lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
    return Card(
        index=index,
        name=_text(_asked(nvml, lambda: nvml.nvmlDeviceGetName(handle))),
        driver=driver,
        vram_total=total,
        vram_used=used,
        utilization=None if rates is None else rates.gpu / 100,
        temperature=None if heat is None else float(heat),
        power=None if milliwatts is None else milliwatts / 1000,
        processes=tuple(CardProcess(p, vram=v) for p, v in sorted(_held(nvml, handle).items())),
    )


Memory = tuple[int | None, int | None]
"""Bytes in total and used."""


def _memory(nvml: Any, handle: Any) -> Memory:
    """Return a card's memory: its own, its slices' (MIG), or the computer's that it shares."""
    sliced = bool((_asked(nvml, lambda: nvml.nvmlDeviceGetMigMode(handle)) or [0])[0])
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError_NotSupported:
        # Cards without memory of their own (GB10, Jetson) have no figures of it.
        return (None, None) if sliced else _computers_memory()
    except nvml.NVMLError:
        # In a container with one slice of a card, the whole card is not ours to see.
        return _of_slices(nvml, handle) if sliced else (None, None)
    if not memory.total:
        return _computers_memory()
    return int(memory.total), int(memory.total - memory.free)


def _computers_memory() -> Memory:
    import psutil

    memory = psutil.virtual_memory()
    return memory.total, memory.total - memory.available


def _of_slices(nvml: Any, handle: Any) -> Memory:
    """Return the memory of the slices that this process may see, as one."""
    count = _asked(nvml, partial(nvml.nvmlDeviceGetMaxMigDeviceCount, handle)) or 0
    asked = (_asked(nvml, partial(_slice, nvml, handle, index)) for index in range(count))
    found = [memory for memory in asked if memory is not None]
    if not found:
        return None, None
    return sum(int(m.total) for m in found), sum(int(m.total - m.free) for m in found)


def _slice(nvml: Any, handle: Any, index: int) -> Any:
    return nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index))


def _held(nvml: Any, handle: Any) -> dict[int, int | None]:
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
