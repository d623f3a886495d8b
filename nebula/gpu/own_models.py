"""The chat models Jarvis itself thinks with: in use now, or gone because their card was given away.

A switch may unload them. Asking Ollama for one then would load it again, on top of what it made
room for; so the router leaves it out until it is loaded again, or what took its place has gone.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from nebula.errors import NebulaError
from nebula.events.event import Event
from nebula.gpu.broker import Broker
from nebula.gpu.observe import Observer
from nebula.services.directory import ServiceDirectory
from nebula.services.map import Target

_BATCH = 500


class Log(Protocol):
    """The events of the stream `gpu`, written by every process that switches."""

    async def read(self, stream: str, after: int = 0, limit: int = 500) -> list[Event]:
        """Return the events after a number, oldest first."""
        ...


class OwnModels:
    """What the router needs to know of the card, and the broker of the router."""

    def __init__(
        self, services: ServiceDirectory, broker: Broker, observer: Observer, events: Log
    ) -> None:
        """Take the map's directory, the broker, what looks at services, and the event log."""
        self._services = services
        self._broker = broker
        self._observer = observer
        self._events = events
        self._seq = 0
        self._away: dict[Target, str | None] = {}

    @contextmanager
    def using(self, provider: str, model: str) -> Iterator[None]:
        """Mark a provider's model as answering right now, so that a switch waits for it."""
        with ExitStack() as stack:
            for service in self._services_of(provider):
                stack.enter_context(self._broker.using(service, model.removesuffix(":latest")))
            yield

    async def evicted(self) -> frozenset[str]:
        """Return the models, as `provider:model`, that gave their card to something else."""
        while True:
            batch = await self._events.read("gpu", self._seq, _BATCH)
            for event in batch:
                fold(self._away, event.kind, event.data)
                self._seq = event.seq
            if len(batch) < _BATCH:
                break
        ours = self._services_of("ollama")
        away = {t for t in self._away if t.service in ours and t.model}
        for service in {t.service for t in away}:
            loaded = await self._loaded(service)
            for target in loaded & away:
                del self._away[target]
            away -= loaded
        names = {f"ollama:{t.model}" for t in away}
        return frozenset(names | {f"{n}:latest" for n in names if n.count(":") == 1})

    def _services_of(self, provider: str) -> list[str]:
        """Return the services of the map that the router's Ollama is."""
        if provider != "ollama":
            return []
        return [
            s.name
            for s in self._services.map.services
            if s.kind == "ollama"
            and not self._services.map.simulated(s)
            and self._services.map.address(s) == self._services.ollama
        ]

    async def _loaded(self, service: str) -> set[Target]:
        """Return what is loaded whatever we were told; someone else may have loaded it."""
        spec = self._services.map.service(service)
        if spec is None:
            return set()
        try:
            held = await self._observer.driver(spec).inspect()
        except NebulaError:
            return set()
        return {r.target for r in held.residents}


def fold(away: dict[Target, str | None], kind: str, data: dict[str, Any]) -> None:
    """Follow one event: who is away, and for which service (None = a person wanted room)."""
    gone = [Target.model_validate(t) for t in data.get("unloaded", [])]
    left = {t.service for t in gone}
    for target in [t for t, by in away.items() if by in left]:
        del away[target]
    by = None
    if kind == "gpu.switched":
        away.pop(Target(service=data["service"], model=data["model"]), None)
        by = str(data["service"])
    for target in gone:
        away[target] = by
