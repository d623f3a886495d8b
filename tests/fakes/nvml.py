"""nvidia-ml-py's `pynvml` module over cards that a test describes; it can fail like a driver."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


class NVMLError(Exception):
    """Any failure of NVML."""


class NVMLError_LibraryNotFound(NVMLError):
    """There is no NVIDIA driver."""


class NVMLError_DriverNotLoaded(NVMLError):
    """The driver's kernel module is not loaded."""


@dataclass
class FakeCard:
    """One card: bytes in total and used, and what its processes hold."""

    total: int
    used: int | Callable[[], int] = 0
    name: str = "NVIDIA GeForce RTX 3060"
    processes: dict[int, int | None] = field(default_factory=dict)
    broken: bool = False


class FakeNvml:
    """Stands where `import pynvml` does."""

    NVMLError = NVMLError
    NVMLError_LibraryNotFound = NVMLError_LibraryNotFound
    NVMLError_DriverNotLoaded = NVMLError_DriverNotLoaded
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, cards: list[FakeCard], failure: NVMLError | None = None) -> None:
        self.cards = cards
        self.failure = failure
        self.users = 0

    def nvmlInit(self) -> None:
        if self.failure is not None:
            raise self.failure
        if not self.cards:
            raise NVMLError_LibraryNotFound("NVML Shared Library Not Found")
        self.users += 1

    def nvmlShutdown(self) -> None:
        self.users -= 1

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.65.06"

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        return 13000

    def nvmlDeviceGetCount(self) -> int:
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeCard:
        if self.cards[index].broken:
            raise NVMLError("GPU is lost")
        return self.cards[index]

    def nvmlDeviceGetMemoryInfo(self, card: FakeCard) -> Any:
        used = card.used() if callable(card.used) else card.used
        return SimpleNamespace(total=card.total, used=used, free=card.total - used)

    def nvmlDeviceGetName(self, card: FakeCard) -> str:
        return card.name

    def nvmlDeviceGetUtilizationRates(self, card: FakeCard) -> Any:
        return SimpleNamespace(gpu=42, memory=10)

    def nvmlDeviceGetPowerUsage(self, card: FakeCard) -> int:
        raise NVMLError("Not Supported")

    def nvmlDeviceGetTemperature(self, card: FakeCard, sensor: int) -> int:
        return 51

    def nvmlDeviceGetComputeRunningProcesses(self, card: FakeCard) -> list[Any]:
        return [SimpleNamespace(pid=p, usedGpuMemory=v) for p, v in card.processes.items()]

    def nvmlDeviceGetGraphicsRunningProcesses(self, card: FakeCard) -> list[Any]:
        return []
