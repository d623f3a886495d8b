"""What NVML (https://docs.nvidia.com/deploy/nvml-api/) says of one card, for the agent and for Jarvis.

Cards, drivers and containers differ in what they tell: what is not told is None.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class Memory(NamedTuple):
    """Bytes of a card; `unified` says that it shares the computer's."""

    total: int | None = None
    used: int | None = None
    unified: bool = False


class CardFigures(NamedTuple):
    """A card at this moment."""

    name: str | None
    uuid: str | None
    memory: Memory
    utilization: float | None
    """0 to 1."""
    temperature: float | None
    """Degrees Celsius."""
    power: float | None
    """Watts."""
    held: dict[int, int | None]
    """Bytes by process; None where the driver does not say (Windows, WSL2)."""


def figures(nvml: Any, handle: Any) -> CardFigures:
    """Read a card by NVML's handle; `nvml` is the module pynvml, initialised (blocking)."""
    rates = asked(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    milliwatts = asked(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    heat = asked(nvml, lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
    return CardFigures(
        name=text_of(asked(nvml, lambda: nvml.nvmlDeviceGetName(handle))),
        uuid=text_of(asked(nvml, lambda: nvml.nvmlDeviceGetUUID(handle))),
        memory=_memory(nvml, handle),
        utilization=None if rates is None else rates.gpu / 100,
        temperature=None if heat is None else float(heat),
        power=None if milliwatts is None else milliwatts / 1000,
        held=_held(nvml, handle),
    )


def driver_version(nvml: Any) -> str | None:
    """Return the version of the driver."""
    return text_of(asked(nvml, nvml.nvmlSystemGetDriverVersion))


def cuda_version(nvml: Any) -> str | None:
    """Return the newest CUDA that the driver can run."""
    number = asked(nvml, nvml.nvmlSystemGetCudaDriverVersion_v2)
    return f"{number // 1000}.{number % 1000 // 10}" if number else None


def _memory(nvml: Any, handle: Any) -> Memory:
    """Return a card's memory: its own, its slices' (MIG), or the computer's that it shares."""
    sliced = bool((asked(nvml, lambda: nvml.nvmlDeviceGetMigMode(handle)) or [0])[0])
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
    count = asked(nvml, partial(nvml.nvmlDeviceGetMaxMigDeviceCount, handle)) or 0
    slices = (asked(nvml, partial(_slice, nvml, handle, index)) for index in range(count))
    found = [memory for memory in slices if memory is not None]
    if not found:
        return Memory()
    return Memory(sum(int(m.total) for m in found), sum(int(m.total - m.free) for m in found))


def _slice(nvml: Any, handle: Any, index: int) -> Any:
    return nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index))


def _held(nvml: Any, handle: Any) -> dict[int, int | None]:
    """Return what each process holds; None where the driver does not say (Windows, WSL2)."""
    held: dict[int, int | None] = {}
    for kind in ("Compute", "Graphics"):
        listed: dict[int, int | None] = {}
        for found in asked(nvml, partial(_running, nvml, kind, handle)) or ():
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


def asked(nvml: Any, call: Callable[[], T]) -> T | None:
    """Return one figure; None when this card or driver does not give it."""
    try:
        return call()
    except nvml.NVMLError:
        return None


def text_of(value: Any) -> str | None:
    """Return a text of NVML, which old bindings give as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
