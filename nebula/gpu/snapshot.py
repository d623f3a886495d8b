"""What is on every card at one moment. Frozen; sizes in bytes; unknown is None, never 0."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from nebula.services.map import Target

FigureSource = Literal["nvml", "node", "service", "map", "simulated"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class GpuProcess(_Frozen):
    """A process on a card; with neither service nor task it is not ours (foreign)."""

    pid: int
    name: str | None = None
    vram: int | None = None
    service: str | None = None
    task: str | None = None
    """The task of a machine's agent that it belongs to, when that task has a lease of the card."""

    @property
    def foreign(self) -> bool:
        """Say whether nothing of ours stands behind it."""
        return self.service is None and self.task is None


class GpuReading(_Frozen):
    """One card: what it has, what is used, by which source's word."""

    index: int
    name: str | None = None
    uuid: str | None = None
    vram_total: int | None = None
    vram_used: int | None = None
    unified: bool = False
    """It has no memory of its own: these are the computer's figures."""
    utilization: float | None = None
    """0..1."""
    temperature: float | None = None
    """Degrees Celsius."""
    power: float | None = None
    """Watts."""
    processes: tuple[GpuProcess, ...] = ()
    source: FigureSource
    simulated: bool = False
    age: float = 0.0
    """Seconds since it was read: agents of nodes tell theirs every other second."""

    @property
    def vram_free(self) -> int | None:
        """Return what is not used, when both figures are known."""
        if self.vram_total is None or self.vram_used is None:
            return None
        return max(0, self.vram_total - self.vram_used)


class Resident(_Frozen):
    """A model that a service holds on a card; `vram` None = the service does not say."""

    service: str
    model: str | None = None
    gpu: int = 0
    vram: int | None = None
    busy: bool | None = None
    last_used: datetime | None = None
    simulated: bool = False

    @property
    def target(self) -> Target:
        """Return what would bring it back."""
        return Target(service=self.service, model=self.model)

    @property
    def label(self) -> str:
        """Return what a person calls it."""
        return self.model or self.service


class ServiceState(_Frozen):
    """A GPU service as its driver saw it; `up` None = not asked."""

    name: str
    kind: str
    up: bool | None = None
    busy: bool | None = None
    reason: str = ""
    silent: bool = False
    """It did not answer, and may hold models all the same; one that refuses is not there."""
    simulated: bool = False


class NodeSnapshot(_Frozen):
    """One machine: its cards, what is loaded, and which services answered."""

    name: str
    gpus: tuple[GpuReading, ...] = ()
    residents: tuple[Resident, ...] = ()
    services: tuple[ServiceState, ...] = ()
    problem: str = ""
    simulated: bool = False

    def gpu(self, index: int) -> GpuReading | None:
        """Return a card by its index."""
        return next((g for g in self.gpus if g.index == index), None)

    def service(self, name: str) -> ServiceState | None:
        """Return a service's state by its name."""
        return next((s for s in self.services if s.name == name), None)


class GpuSnapshot(_Frozen):
    """Every node at one moment."""

    at: datetime
    nodes: tuple[NodeSnapshot, ...] = ()

    def node(self, name: str) -> NodeSnapshot | None:
        """Return a node by its name."""
        return next((n for n in self.nodes if n.name == name), None)


class DeviceMemory(_Frozen):
    """A card's memory by the word of a service that runs on it."""

    total: int
    free: int
    name: str | None = None


class Holding(_Frozen):
    """What a driver found in its service: loaded models, the card's memory, whether it works."""

    residents: tuple[Resident, ...] = ()
    memory: DeviceMemory | None = None
    busy: bool | None = None
