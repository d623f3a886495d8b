"""Takes the snapshot: NVML, every service's own word, and the map, put together per node."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import httpx

from nebula.errors import NebulaError, TimedOut, UpstreamUnavailable
from nebula.gpu.drivers.comfyui import ComfyDriver
from nebula.gpu.drivers.driver import Driver
from nebula.gpu.drivers.ollama import OllamaDriver
from nebula.gpu.drivers.sdwebui import SdWebUiDriver
from nebula.gpu.drivers.simulated import SimulatedDriver
from nebula.gpu.drivers.wire import Wire, refused
from nebula.gpu.nvml import Nvml
from nebula.gpu.processes import attribute, by_size
from nebula.gpu.simulated import SimulatedNode
from nebula.gpu.snapshot import (
    DeviceMemory,
    GpuReading,
    GpuSnapshot,
    Holding,
    NodeSnapshot,
    Resident,
    ServiceState,
)
from nebula.services.map import NodeSpec, ServiceMap, ServiceSpec, Target

# A service that takes longer than this over its status is reported as not answering.
_SECONDS = 5.0


class Remote(Protocol):
    """Tells the cards of a node with an agent; raises NebulaError."""

    async def __call__(self, name: str, /, *, fresh: bool) -> tuple[GpuReading, ...]:
        """Return the last figures that the agent told; `fresh` ones are asked for now."""
        ...


class Observer:
    """Looks at the cards and the services of the map that is in force."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        nvml: Nvml,
        services: Callable[[], ServiceMap],
        folder: Path,
        *,
        poll: float = 0.5,
        remote: Remote | None = None,
    ) -> None:
        """Take the HTTP client, NVML, the map in force, the folder for simulated state, and what
        tells the cards of nodes with an agent.
        """
        self._http = http
        self._nvml = nvml
        self._map = services
        self._folder = folder
        self._poll = poll
        self.remote = remote

    def driver(self, service: ServiceSpec) -> Driver:
        """Return what speaks to a service."""
        services = self._map()
        node = services.node(service.node)
        if node is not None and services.simulated(service):
            return SimulatedDriver(self._simulated(node), service)
        wire = Wire(self._http, service.name, services.address(service))
        if service.kind == "ollama":
            return OllamaDriver(wire, service.gpu)
        if service.kind == "comfyui":
            return ComfyDriver(wire, service.gpu, self._poll)
        return SdWebUiDriver(wire, service.gpu)

    def _simulated(self, node: NodeSpec) -> SimulatedNode:
        return SimulatedNode(self._folder, node, self._map)

    async def snapshot(
        self, touched: Mapping[Target, datetime], busy: frozenset[Target]
    ) -> GpuSnapshot:
        """Look at every node at once; `touched` and `busy` are what only we know of use."""
        services = self._map()
        nodes = await asyncio.gather(*(self.node(n, touched, busy) for n in services.nodes))
        return GpuSnapshot(at=datetime.now(UTC), nodes=tuple(nodes))

    async def node(
        self,
        node: NodeSpec,
        touched: Mapping[Target, datetime],
        busy: frozenset[Target],
        *,
        fresh: bool = False,
    ) -> NodeSnapshot:
        """Look at one node: its cards and its services side by side.

        `fresh` has an agent read its cards now: what it told before knows nothing of a change.
        """
        services = self._map()
        found = [s for s in services.on(node.name) if s.on_gpu]
        (cards, problem), seen = await asyncio.gather(
            self.cards(node, fresh=fresh), asyncio.gather(*(self._look(s) for s in found))
        )
        states = tuple(state for state, _ in seen)
        residents = tuple(
            _with_use(r, touched, busy) for _, holding in seen for r in holding.residents
        )
        memories: dict[int, DeviceMemory] = {}
        for spec, (_, holding) in zip(found, seen, strict=True):
            known = memories.get(spec.gpu)
            if holding.memory is not None and (known is None or known.name is None):
                memories[spec.gpu] = holding.memory
        return NodeSnapshot(
            name=node.name,
            gpus=by_size(_complete(node, cards, memories), residents),
            residents=residents,
            services=states,
            problem=problem,
            simulated=node.simulated,
        )

    async def cards(
        self, node: NodeSpec, *, fresh: bool = False
    ) -> tuple[tuple[GpuReading, ...], str]:
        """Read a node's cards, and say why there are none."""
        if node.simulated:
            return await self._simulated(node).readings(), ""
        if node.agent and self.remote is not None:
            try:
                return await self.remote(node.name, fresh=fresh), ""
            except NebulaError as error:
                return (), str(error)
        if not node.local:
            return (), ""
        reading = await self._nvml.read()
        if not reading.gpus:
            return (), reading.problem
        gpus = await asyncio.to_thread(attribute, reading.gpus, self._map(), node.name)
        return gpus, reading.problem

    async def _look(self, service: ServiceSpec) -> tuple[ServiceState, Holding]:
        """Ask one service; its troubles are its state, not ours."""
        simulated = self._map().simulated(service)
        state = ServiceState(name=service.name, kind=service.kind, simulated=simulated)
        try:
            async with asyncio.timeout(_SECONDS):
                holding = await self.driver(service).inspect()
        except NebulaError as error:
            silent = isinstance(error, TimedOut | UpstreamUnavailable) and not refused(error)
            down = {"up": False, "reason": str(error), "silent": silent}
            return state.model_copy(update=down), Holding()
        except TimeoutError:
            down = {"up": False, "reason": f"no answer within {_SECONDS:g} s", "silent": True}
            return state.model_copy(update=down), Holding()
        return state.model_copy(update={"up": True, "busy": holding.busy}), holding


def _with_use(
    resident: Resident, touched: Mapping[Target, datetime], busy: frozenset[Target]
) -> Resident:
    """Add what only we know: when we last used a model, and whether a turn uses it now."""
    last = touched.get(resident.target, resident.last_used)
    working = True if resident.target in busy else resident.busy
    return resident.model_copy(update={"last_used": last, "busy": working})


def _complete(
    node: NodeSpec,
    cards: tuple[GpuReading, ...],
    memories: Mapping[int, DeviceMemory],
) -> tuple[GpuReading, ...]:
    """Fill in cards and sizes that NVML did not give: by a service's word, then the map's."""
    found = {card.index: card for card in cards}
    for index, memory in memories.items():
        if index not in found or found[index].vram_total is None:
            found[index] = GpuReading(
                index=index,
                name=memory.name,
                vram_total=memory.total,
                vram_used=memory.total - memory.free,
                source="service",
            )
    for spec in node.gpus:
        if spec.index not in found:
            found[spec.index] = GpuReading(
                index=spec.index, name=spec.name, vram_total=spec.vram, source="map"
            )
            continue
        card = found[spec.index]
        told = {"name": card.name or spec.name, "vram_total": card.vram_total or spec.vram}
        found[spec.index] = card.model_copy(update=told)
    return tuple(found[index] for index in sorted(found))
