"""nvidia-ml-py's `pynvml` module over cards that a test describes; it can fail like a driver."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


class NVMLError(Exception):
    """Any failure of NVML."""


class NVMLError_LibraryNotFound(NVMLError):
    """There is no NVIDIA driver."""


class NVMLError_DriverNotLoaded(NVMLError):
    """The driver's kernel module is not loaded."""


class NVMLError_NotSupported(NVMLError):
    """This card does not tell that."""


class NVMLError_NoPermission(NVMLError):
    """That is not for this user, or this container, to see."""


class NVMLError_FunctionNotFound(NVMLError):
    """The driver is older than this call."""


Held = Mapping[int, int | None] | Sequence[tuple[int, int | None]]


@dataclass
class FakeCard:
    """One card: bytes in total and used, and what its processes hold.

    `slices` are the bytes, in total and used, of the parts that MIG made of it; only those are
    told when it is not `whole`. `draws` are the processes of the list of graphics programs.
    """

    total: int | None
    used: int | Callable[[], int] = 0
    name: str = "NVIDIA GeForce RTX 3060"
    processes: Held | Callable[[], Held] = field(default_factory=dict)
    draws: dict[int, int | None] = field(default_factory=dict)
    broken: bool = False
    slices: tuple[tuple[int, int], ...] = ()
    whole: bool = True
    uuid: str = "GPU-5f2b8c1e-0000-4000-8000-00000000000a"


class FakeNvml:
    """Stands where `import pynvml` does."""

    NVMLError = NVMLError
    NVMLError_LibraryNotFound = NVMLError_LibraryNotFound
    NVMLError_DriverNotLoaded = NVMLError_DriverNotLoaded
    NVMLError_NotSupported = NVMLError_NotSupported
    NVMLError_NoPermission = NVMLError_NoPermission
    NVMLError_FunctionNotFound = NVMLError_FunctionNotFound
    NVML_TEMPERATURE_GPU = 0

    def __init__(
        self,
        cards: Sequence[FakeCard],
        failure: NVMLError | None = None,
        *,
        lists: str = "v3",
    ) -> None:
        """Take the cards, what every call fails with, and the list of processes the driver has."""
        self.cards = cards
        self.failure = failure
        self.lists = lists
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

    def nvmlDeviceGetMemoryInfo(self, card: "FakeCard | tuple[int, int]") -> Any:
        if isinstance(card, tuple):
            return SimpleNamespace(total=card[0], used=card[1], free=card[0] - card[1])
        if not card.whole:
            raise NVMLError_NoPermission("Insufficient Permissions")
        if card.total is None:
            raise NVMLError_NotSupported("Not Supported")
        used = card.used() if callable(card.used) else card.used
        return SimpleNamespace(total=card.total, used=used, free=card.total - used)

    def nvmlDeviceGetMigMode(self, card: FakeCard) -> list[int]:
        if not card.slices:
            raise NVMLError_NotSupported("Not Supported")
        return [1, 1]

    def nvmlDeviceGetMaxMigDeviceCount(self, card: FakeCard) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: FakeCard, index: int) -> tuple[int, int]:
        try:
            return card.slices[index]
        except IndexError:
            raise NVMLError("Not Found") from None

    def nvmlDeviceGetUUID(self, card: FakeCard) -> str:
        return card.uuid

    def nvmlDeviceGetName(self, card: FakeCard) -> str:
        return card.name

    def nvmlDeviceGetUtilizationRates(self, card: FakeCard) -> Any:
        return SimpleNamespace(gpu=42, memory=10)

    def nvmlDeviceGetPowerUsage(self, card: FakeCard) -> int:
        raise NVMLError("Not Supported")

    def nvmlDeviceGetTemperature(self, card: FakeCard, sensor: int) -> int:
        return 51

    def nvmlDeviceGetComputeRunningProcesses_v3(self, card: FakeCard) -> list[Any]:
        return self._listed("v3", card.processes)

    def nvmlDeviceGetGraphicsRunningProcesses_v3(self, card: FakeCard) -> list[Any]:
        return self._listed("v3", card.draws)

    def nvmlDeviceGetComputeRunningProcesses_v2(self, card: FakeCard) -> list[Any]:
        return self._listed("v2", card.processes)

    def nvmlDeviceGetGraphicsRunningProcesses_v2(self, card: FakeCard) -> list[Any]:
        return self._listed("v2", card.draws)

    def _listed(self, version: str, processes: Held | Callable[[], Held]) -> list[Any]:
        if version != self.lists:
            raise NVMLError_FunctionNotFound("Function Not Found")
        held = processes() if callable(processes) else processes
        listed = held.items() if isinstance(held, Mapping) else held
        return [SimpleNamespace(pid=p, usedGpuMemory=v) for p, v in listed]
