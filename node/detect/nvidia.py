"""NVIDIA cards through NVML: figures per card and process."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

from node.nvml import asked, cuda_version, driver_version, figures
from node.protocol import Card, CardProcess


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
        found = tuple(_cards(nvml, driver_version(nvml)))
        return found, cuda_version(nvml), ""
    except nvml.NVMLError as error:
        return (), None, f"The NVIDIA driver fails: {error}"
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def _cards(nvml: Any, driver: str | None) -> Iterator[Card]:
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = asked(nvml, partial(nvml.nvmlDeviceGetHandleByIndex, index))
        # A card that fell off the bus must not hide the others.
        yield Card(index, driver=driver) if handle is None else _card(nvml, index, handle, driver)


def _card(nvml: Any, index: int, handle: Any, driver: str | None) -> Card:
    seen = figures(nvml, handle)
    return Card(
        index=index,
        name=seen.name,
        driver=driver,
        vram_total=seen.memory.total,
        vram_used=seen.memory.used,
        utilization=seen.utilization,
        temperature=seen.temperature,
        power=seen.power,
        processes=tuple(CardProcess(p, vram=v) for p, v in sorted(seen.held.items())),
    )
