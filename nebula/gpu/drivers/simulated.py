"""The driver of services on a simulated node."""

from nebula.gpu.simulated import SimulatedNode
from nebula.gpu.snapshot import Holding
from nebula.services.map import ServiceSpec, Target


class SimulatedDriver:
    """Loads and unloads on a card that is not there."""

    def __init__(self, node: SimulatedNode, service: ServiceSpec) -> None:
        """Take the simulated machine and the service's entry."""
        self._node = node
        self._service = service

    async def inspect(self) -> Holding:
        """Return what it holds."""
        return Holding(residents=await self._node.residents(self._service.name), busy=False)

    async def models(self) -> tuple[str, ...]:
        """Return the models of its entry."""
        return tuple(m.name for m in self._service.models)

    async def load(self, model: str | None, *, seconds: float) -> str:  # noqa: ARG002
        """Load in scaled time."""
        await self._node.load(Target(service=self._service.name, model=model))
        return f"{model or self._service.name} is loaded (simulated)"

    async def unload(self, model: str | None) -> None:
        """Drop at once."""
        await self._node.unload(Target(service=self._service.name, model=model))

    async def interrupt(self) -> None:
        """Do nothing: simulated services never work."""
