"""The chat models Jarvis itself thinks with: in use now, or gone because their card was given away.

A switch may unload them. Asking Ollama for one then would load it again, on top of what it made
room for; so the router leaves it out until it is loaded again, or what took its place has gone.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

import structlog

from nebula.auth.principal import Caller
from nebula.errors import NebulaError, UpstreamUnavailable
from nebula.events.event import Event
from nebula.gpu.leases.need import GpuNeed
from nebula.gpu.leases.rows import RequestState, ResidentState, Rows
from nebula.gpu.leases.service import Leases
from nebula.gpu.observe import Observer
from nebula.gpu.policy.types import PriorityClass
from nebula.services.directory import ServiceDirectory
from nebula.services.map import Target

log = structlog.get_logger(__name__)

_BATCH = 500
By = Target | str | None
"""What took a model's place: another one, work without a model on a card, or a person's wish."""


class Log(Protocol):
    """The events of the stream `gpu`, written by every process that switches."""

    async def read(self, stream: str, after: int = 0, limit: int = 500) -> list[Event]:
        """Return the events after a number, oldest first."""
        ...


class OwnModels:
    """What the router needs to know of the card, and the broker of the router."""

    def __init__(
        self, services: ServiceDirectory, leases: Leases, observer: Observer, events: Log
    ) -> None:
        """Take the map's directory, the leases, what looks at services, and the event log."""
        self._services = services
        self._leases = leases
        self._observer = observer
        self._events = events
        self._seq = 0
        self._away: dict[Target, By] = {}
        self._used: dict[Target, float] = {}
        """When each was used last before it went, in seconds of the database's clock."""

    @asynccontextmanager
    async def using(
        self, provider: str, model: str, caller: Caller | None = None
    ) -> AsyncIterator[None]:
        """Hold a lease on a provider's model while it answers; others cost nothing.

        Raises:
            Conflict: when its card does not become free in time.
        """
        async with AsyncExitStack() as stack:
            for service in self._services_of(provider)[:1]:
                holding = self._leases.hold(
                    _need(service, model.removesuffix(":latest")),
                    owner_id=caller.principal.id if caller else "system",
                    owner_name=caller.principal.name if caller else "Jarvis",
                    wait_seconds=self._leases.tools.settings.chat_wait_seconds,
                    load=False,
                )
                try:
                    await stack.enter_async_context(holding)
                except UpstreamUnavailable as error:
                    log.warning("a model answers without a lease", model=model, error=str(error))
            yield

    async def comebacks(self, rows: Rows) -> list[GpuNeed]:
        """Return the models to ask for again: what took their place has been idle for a while.

        The one that was talked to last comes first: with it, what took the place of others may go.
        Where another one has been talked to since, none is owed its place.
        """
        await self._follow()
        found = []
        for target, by in sorted(self._away.items(), key=lambda each: -self._used[each[0]]):
            if by is None or target.service not in self._services_of("ollama"):
                continue
            if self._talked_since(rows, target, by):
                continue
            if _over(rows, by) if isinstance(by, str) else self._idle(rows, by):
                found.append(_need(target.service, target.model))
        return found

    def _talked_since(self, rows: Rows, target: Target, by: Target | str) -> bool:
        """Say whether another model of the service was used after this one had to go."""
        pinned = self._services.map.pinned  # such as the embedder: it is no other voice
        others = (r for r in rows.residents if r.service == target.service)
        used = [
            r.last_used or 0.0
            for r in others
            if r.target not in {target, by} and not pinned(r.target)
        ]
        return max(used, default=0.0) > self._used[target]

    def _idle(self, rows: Rows, by: Target) -> bool:
        """Say whether nobody has used, uses or waits for what took the place for a while."""
        spec = self._services.map.service(by.service)
        many = spec is not None and spec.holds_many

        def meant(other: ResidentState | RequestState) -> bool:
            same = not many or by.model in {None, other.model}
            return other.service == by.service and same

        there = [r for r in rows.residents if meant(r)]
        working = any(r.busy or rows.leases_on(r.id) for r in there)
        latest = max((r.last_used or r.changed for r in there), default=0.0)
        waited_for = any(meant(w) for w in rows.waiting)
        seconds = self._leases.tools.settings.comeback_seconds
        return not working and not waited_for and rows.now - latest >= seconds

    async def evicted(self) -> frozenset[str]:
        """Return the models, as `provider:model`, that gave their card to something else."""
        await self._follow()
        ours = self._services_of("ollama")
        away = {t for t in self._away if t.service in ours and t.model}
        for service in {t.service for t in away}:
            loaded = await self._loaded(service)
            for target in loaded & away:
                del self._away[target]
            away -= loaded
        names = {f"ollama:{t.model}" for t in away}
        return frozenset(names | {f"{n}:latest" for n in names if n.count(":") == 1})

    async def _follow(self) -> None:
        """Take in what was told of the cards since the last time."""
        while True:
            batch = await self._events.read("gpu", self._seq, _BATCH)
            for event in batch:
                fold(self._away, event.kind, event.data)
                used = float(event.data.get("used") or 0.0)
                self._used = {t: self._used.get(t, used) for t in self._away}
                self._seq = event.seq
            if len(batch) < _BATCH:
                break

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


def _over(rows: Rows, card: str) -> bool:
    """Say whether the work that took a card is over; nothing of it is left that could be used again."""
    works = any(v.resident is None and v.card == card for v in rows.leases)
    return not works and not any(w.service is None for w in rows.waiting)


def fold(away: dict[Target, By], kind: str, data: dict[str, Any]) -> None:
    """Follow one event: who is away, and for which service (None = a person wanted room)."""
    gone = [Target.model_validate(t) for t in data.get("unloaded", [])]
    for target in [t for t, taker in away.items() if any(_is(g, taker) for g in gone)]:
        del away[target]
    by: By = None
    if kind == "gpu.evicted":
        # A model that was unloaded because nobody used it, or for another chat, is not away.
        if data.get("class") in {None, "chat"}:
            return
        by = _target(data) if data["service"] else str(data.get("card", ""))
    if kind in {"gpu.switched", "gpu.loaded"}:
        by = _target(data)
        away.pop(by, None)
    for target in gone:
        away[target] = by


def _target(data: dict[str, Any]) -> Target:
    return Target(service=data["service"], model=data["model"])


def _is(gone: Target, taker: By) -> bool:
    """Say whether what was unloaded is what took a place; another model of its service is not."""
    if not isinstance(taker, Target) or gone.service != taker.service:
        return False
    return None in {gone.model, taker.model} or gone.model == taker.model


def _need(service: str, model: str | None) -> GpuNeed:
    return GpuNeed(service=service, model=model, klass=PriorityClass.CHAT, what="a chat")
