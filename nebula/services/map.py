"""The service map: which nodes, cards, services and VRAM budgets exist. Pure data."""

from collections.abc import Iterator
from functools import cached_property
from itertools import combinations
from pathlib import PureWindowsPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from nebula.services.folders import ModelKind
from nebula.services.sizes import GIB, MIB, Size

Kind = Literal["ollama", "comfyui", "sdwebui", "http", "tcp", "simulated"]
GPU_KINDS: frozenset[str] = frozenset({"ollama", "comfyui", "sdwebui", "simulated"})

_PORTS = {"ollama": 11434, "comfyui": 8188, "sdwebui": 7860}


def _named(value: str) -> str:
    if not value.strip() or value != value.strip() or not value.isprintable():
        raise ValueError(f"{value!r} is not a name; write a word without surrounding spaces")
    return value


Name = Annotated[str, Field(min_length=1, max_length=80), AfterValidator(_named)]


def _http(value: str) -> str:
    if not value.startswith(("http://", "https://", "tcp://")):
        raise ValueError(f"{value!r} is not an address; write it like http://127.0.0.1:8188")
    return value.rstrip("/")


def _absolute(value: str) -> str:
    if not (value.startswith(("/", "~/")) or PureWindowsPath(value).is_absolute()):
        raise ValueError(f"{value!r} is not a whole path; write it like /home/me/ComfyUI/models")
    return value


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GpuSpec(_Part):
    """One card of a node; `index` is the number NVML and nvidia-smi give it."""

    index: int = Field(0, ge=0, le=63)
    name: Name | None = None
    vram: Size | None = None


class NodeSpec(_Part):
    """A machine. Without `gpus`, the cards are detected."""

    name: Name
    address: str = "127.0.0.1"
    tailscale: str | None = None
    gpus: tuple[GpuSpec, ...] = ()
    reserve: Size = Field(512 * MIB, description="VRAM that stays free on every card")
    simulated: bool = False
    agent: bool = Field(False, description="It joined; its agent tells what its cards hold")
    only_when: Literal["no_nvidia_gpu"] | None = Field(
        None, description="Leave this node out when the condition does not hold"
    )
    time_scale: float = Field(0.05, ge=0, le=1, description="How fast simulated seconds pass")
    starts_with: tuple[str, ...] = Field(
        (), description="Models loaded when a simulated node starts"
    )

    @property
    def local(self) -> bool:
        """Say whether this is the machine we run on, so that we look at its cards ourselves."""
        return not (self.simulated or self.agent) and self.address in {
            "127.0.0.1",
            "localhost",
            "::1",
        }


class ModelSpec(_Part):
    """A model of a service and what it takes, until that is measured."""

    name: Name
    vram: Size
    load_seconds: float | None = Field(None, gt=0, le=3600)
    aliases: tuple[Name, ...] = ()
    pinned: bool = Field(False, description="Never unloaded to make room")
    checkpoint: str | None = Field(None, description="The file to load, where the service asks")


class HealthSpec(_Part):
    """How to see whether a service is well; each kind has its own default."""

    path: str = "/"
    status: int = Field(200, ge=100, le=599)
    contains: str | None = None
    timeout: float = Field(3.0, gt=0, le=30, description="Seconds")


class ServiceSpec(_Part):
    """A service on a node: where it listens, what it may use, what people call it."""

    name: Name
    kind: Kind
    node: Name
    url: Annotated[str, AfterValidator(_http)] | None = None
    port: int | None = Field(None, ge=1, le=65535)
    gpu: int = Field(0, ge=0, le=63, description="The card it uses, by index")
    vram: Size | None = Field(None, description="Budget of a model that has none of its own")
    load_seconds: float | None = Field(None, gt=0, le=3600)
    models: tuple[ModelSpec, ...] = ()
    aliases: tuple[Name, ...] = ()
    pinned: bool = False
    idle_minutes: float | None = Field(
        None, ge=0, description="Unused models are unloaded after this long; 0 = never"
    )
    models_folder: Annotated[str, AfterValidator(_absolute)] | None = Field(
        None, description="Where its model files lie, on its node's disk"
    )
    folders: dict[ModelKind, str] = Field(
        default_factory=dict,
        description="Where a kind of model lies, when that is not the usual place",
    )
    health: HealthSpec = HealthSpec()

    @property
    def on_gpu(self) -> bool:
        """Say whether this service holds models on a card."""
        return self.kind in GPU_KINDS

    @property
    def holds_many(self) -> bool:
        """Say whether several models may be loaded in it side by side."""
        return self.kind in {"ollama", "simulated"}

    def model(self, name: str | None) -> ModelSpec | None:
        """Return the entry of a model, when the map has one."""
        return next((m for m in self.models if m.name == name), None)


class Target(BaseModel):
    """A service, and the model in it; None = whatever the service runs by default."""

    model_config = ConfigDict(frozen=True)

    service: str
    model: str | None = None

    def __str__(self) -> str:
        return f"{self.model} ({self.service})" if self.model else self.service


class Footprint(BaseModel):
    """What a model takes: bytes of VRAM and seconds to load; None = unknown."""

    model_config = ConfigDict(frozen=True)

    vram: int | None
    load_seconds: float
    source: Literal["budget", "unknown"]


class ServiceMap(_Part):
    """All nodes and services, checked against each other by the loader."""

    version: Literal[1] = 1
    nodes: tuple[NodeSpec, ...] = ()
    services: tuple[ServiceSpec, ...] = ()

    def node(self, name: str) -> NodeSpec | None:
        """Return a node by its name."""
        return next((n for n in self.nodes if n.name == name), None)

    def service(self, name: str) -> ServiceSpec | None:
        """Return a service by its name."""
        return next((s for s in self.services if s.name == name), None)

    def joined(self, node: str) -> bool:
        """Say whether a node joined: then its own agent tells what it and its services are."""
        known = self.node(node)
        return known is not None and known.agent

    @cached_property
    def written(self) -> frozenset[str]:
        """Return the names of nodes, services and models that no machine told of itself."""
        own = [service for service in self.services if not self.joined(service.node)]
        models = (model.name for service in own for model in service.models)
        nodes = (node.name for node in self.nodes if not node.agent)
        return frozenset([*nodes, *(service.name for service in own), *models])

    def on(self, node: str) -> tuple[ServiceSpec, ...]:
        """Return the services of a node."""
        return tuple(s for s in self.services if s.node == node)

    def simulated(self, service: ServiceSpec) -> bool:
        """Say whether a service is not real."""
        node = self.node(service.node)
        return service.kind == "simulated" or (node is not None and node.simulated)

    def address(self, service: ServiceSpec) -> str:
        """Return the base URL of a service: its own, or its node's address and port."""
        if service.url:
            return service.url
        node = self.node(service.node)
        port = service.port or _PORTS.get(service.kind, 80)
        scheme = "tcp" if service.kind == "tcp" else "http"
        return f"{scheme}://{node.address if node else '127.0.0.1'}:{port}"

    def footprint(self, target: Target) -> Footprint:
        """Return the budget of a model, or of its service when the model has none."""
        service = self.service(target.service)
        if service is None:
            return Footprint(vram=None, load_seconds=10.0, source="unknown")
        model = service.model(target.model)
        vram = model.vram if model else service.vram
        seconds = (model.load_seconds if model else None) or service.load_seconds
        # Without a figure: a cold start of a second, then weights at about a gigabyte a second.
        seconds = seconds or 1.0 + (vram or 9 * GIB) / GIB
        source: Literal["budget", "unknown"] = "budget" if vram else "unknown"
        return Footprint(vram=vram, load_seconds=seconds, source=source)

    def pinned(self, target: Target) -> bool:
        """Say whether a model must never be unloaded to make room."""
        service = self.service(target.service)
        model = service.model(target.model) if service else None
        return bool(service and service.pinned) or bool(model and model.pinned)

    def compatible_sets(self, node: str, vram: int) -> tuple[frozenset[Target], ...]:
        """Return the largest sets of models whose budgets fit together in `vram` bytes."""
        spec = self.node(node)
        room = vram - (spec.reserve if spec else 0)
        sized = [(t, self.footprint(t).vram or room + 1) for t in self._targets(node)]
        found: list[frozenset[Target]] = []
        for count in range(len(sized), 0, -1):
            for group in combinations(sized, count):
                names = frozenset(t for t, _ in group)
                if sum(size for _, size in group) <= room and not any(names < f for f in found):
                    found.append(names)
        return tuple(found)

    def _targets(self, node: str) -> Iterator[Target]:
        for service in self.on(node):
            if service.on_gpu and service.holds_many:
                yield from (Target(service=service.name, model=m.name) for m in service.models)
            elif service.on_gpu:
                yield Target(service=service.name)
