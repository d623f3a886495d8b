"""Makes a card serve something else: unload, see that memory came free, load, report.

No model takes part. One change at a time per node, over all processes. A failure half-way leaves
what it left, says so, and names the next step; the state is measured anew each time.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from nebula.auth.principal import ProgressSink
from nebula.errors import Conflict, InvalidInput, NebulaError, NotFound, TimedOut, UpstreamRejected
from nebula.gpu.lock import node_lock
from nebula.gpu.observe import Observer
from nebula.gpu.placement import plan
from nebula.gpu.plans import Eviction, SwitchPlan, SwitchRequest
from nebula.gpu.snapshot import GpuSnapshot, NodeSnapshot
from nebula.services.directory import Publisher, ServiceDirectory
from nebula.services.map import Target
from nebula.services.resolve import resolve
from nebula.services.sizes import MIB, spoken

log = structlog.get_logger()


async def _silent(fraction: float | None, message: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Limits:
    """How long each phase of a change may take, in seconds."""

    lock: float = 60.0
    busy: float = 60.0
    freed: float = 20.0
    load: float = 180.0
    poll: float = 0.5


@dataclass(frozen=True)
class Evicted:
    """One model that was unloaded, why, and how long that took until the memory was free."""

    eviction: Eviction
    seconds: float


@dataclass(frozen=True)
class Switched:
    """What a change did."""

    plan: SwitchPlan
    evicted: tuple[Evicted, ...]
    loaded: str
    load_seconds: float
    seconds: float
    free: int | None


@dataclass(frozen=True)
class Unloaded:
    """What an unload did."""

    targets: tuple[Target, ...]
    node: str
    freed: int | None
    free: int | None
    seconds: float
    simulated: bool


@dataclass
class _Done:
    """What has happened so far, for the report of a failure."""

    evicted: list[Evicted] = field(default_factory=list)

    def story(self) -> str:
        names = [e.eviction.resident.label for e in self.evicted]
        return f"Unloaded {', '.join(names)} before that. " if names else "Nothing was unloaded. "


class Broker:
    """The one way to change what is on a card."""

    def __init__(
        self,
        services: ServiceDirectory,
        observer: Observer,
        conninfo: str,
        events: Publisher | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Take the map's directory, the observer, the database's address and time limits."""
        self._services = services
        self._observer = observer
        self._conninfo = conninfo
        self._events = events
        self._limits = limits or Limits()
        self._touched: dict[Target, datetime] = {}
        self._in_use: Counter[Target] = Counter()

    @contextmanager
    def using(self, service: str, model: str | None) -> Iterator[None]:
        """Mark a model as in use by this process, so that a switch waits for it."""
        target = Target(service=service, model=model)
        self._in_use[target] += 1
        try:
            yield
        finally:
            self._in_use[target] -= 1
            self._touched[target] = datetime.now(UTC)

    async def snapshot(self) -> GpuSnapshot:
        """Look at every node now."""
        await self._services.refresh()
        return await self._observer.snapshot(self._touched, frozenset(+self._in_use))

    async def plan(
        self, service: str, node: str | None = None, *, evict: bool = True
    ) -> SwitchPlan:
        """Say what serving a service or model would take, and change nothing.

        Raises:
            NotFound: when nothing is called that.
        """
        snapshot = await self.snapshot()
        targets = await self._targets(service, node)
        request = SwitchRequest(targets=targets, node=node, evict=evict)
        return plan(snapshot, request, self._services.map)

    async def _targets(self, text: str, node: str | None) -> tuple[Target, ...]:
        """Find what is meant in the map, then among the models the services have."""
        try:
            return resolve(self._services.map, text, node)
        except NotFound:
            found = await self._installed(text, node)
            if not found:
                raise
            return found

    async def _installed(self, text: str, node: str | None) -> tuple[Target, ...]:
        """Look for a model by its exact name in the services themselves."""
        found = []
        for spec in self._services.map.services:
            if not spec.holds_many or node not in {None, spec.node}:
                continue
            try:
                names = await self._observer.driver(spec).models()
            except NebulaError:
                continue
            found += [
                Target(service=spec.name, model=name)
                for name in names
                if text.strip().casefold() == name.casefold()
            ]
        return tuple(found)

    async def switch(
        self,
        service: str,
        node: str | None = None,
        *,
        evict: bool = True,
        force: bool = False,
        progress: ProgressSink = _silent,
    ) -> Switched:
        """Serve a service or model, unloading first what does not fit beside it.

        A service that works is waited for; `force` stops its work instead. With `evict=False` it
        fits as it is or is refused.

        Raises:
            NotFound: when nothing is called that.
            Conflict: when it cannot fit, a service stays busy, or another change runs.
            UpstreamRejected: when memory did not come free although a service said so.
        """
        started = time.monotonic()
        first = await self.plan(service, node, evict=evict)
        _refuse(first)
        async with node_lock(self._conninfo, first.node, seconds=self._limits.lock):
            # The world may have changed while we waited: plan again, for the node we hold.
            now = await self.plan(service, first.node, evict=evict)
            _refuse(now)
            done = _Done()
            try:
                return await self._carry_out(now, done, started, force=force, progress=progress)
            except NebulaError as error:
                raise await self._explained(error, now, done) from error

    async def load(
        self, service: str, node: str | None = None, *, progress: ProgressSink = _silent
    ) -> Switched:
        """Serve a service or model where there is room already; unload nothing."""
        return await self.switch(service, node, evict=False, progress=progress)

    async def _carry_out(
        self,
        chosen: SwitchPlan,
        done: _Done,
        started: float,
        *,
        force: bool,
        progress: ProgressSink,
    ) -> Switched:
        if chosen.already:
            self._touch(chosen.target)
            return await self._report(chosen, done, chosen.explanation, 0.0, started)
        if chosen.waits_for:
            await self._until_idle(chosen, force=force, progress=progress)
        for number, eviction in enumerate(chosen.evicts):
            share = 0.1 + 0.3 * number / len(chosen.evicts)
            await progress(share, f"Unloading {eviction.resident.label}")
            await self._evict(chosen, eviction, done)
        if chosen.evicts:
            await self._until_free(chosen)
        await progress(0.4, f"Loading {chosen.target}")
        begun = time.monotonic()
        said = await self._load(chosen.target)
        self._touch(chosen.target)
        await progress(1.0, f"{chosen.target} is ready")
        return await self._report(chosen, done, said, time.monotonic() - begun, started)

    async def _load(self, target: Target) -> str:
        spec = self._services.map.service(target.service)
        if spec is None:
            raise NotFound(f"{target.service} left the service map meanwhile")
        entry = spec.model(target.model)
        simulated = self._services.map.simulated(spec)
        # What a person calls SDXL is a file name to ComfyUI and SD WebUI.
        plain = spec.holds_many or simulated or entry is None
        model = target.model if plain else (entry.checkpoint if entry else None)
        driver = self._observer.driver(spec)
        try:
            async with asyncio.timeout(self._limits.load):
                return await driver.load(model, seconds=self._limits.load)
        except TimeoutError as error:
            raise TimedOut(
                f"{target} was not loaded within {self._limits.load:g} s",
                hint="It may still be loading: look at gpu_status.",
            ) from error

    async def _until_idle(self, chosen: SwitchPlan, *, force: bool, progress: ProgressSink) -> None:
        """Wait for services that work, or stop their work when that was asked for."""
        if force:
            for name in chosen.waits_for:
                spec = self._services.map.service(name)
                if spec is not None:
                    await self._observer.driver(spec).interrupt()
            return
        names = " and ".join(chosen.waits_for)
        await progress(0.05, f"Waiting for {names} to finish")
        leaving = {e.resident.target for e in chosen.evicts}

        def idle(node: NodeSnapshot) -> bool:
            return not any(r.busy for r in node.residents if r.target in leaving)

        if not await self._until(chosen.node, idle, self._limits.busy):
            raise Conflict(
                f"{names} is still working after {self._limits.busy:g} s, so nothing was unloaded",
                hint="Try again later, or use force to stop its work.",
            )

    async def _evict(self, chosen: SwitchPlan, eviction: Eviction, done: _Done) -> None:
        """Unload one model and wait until its service no longer lists it."""
        begun = time.monotonic()
        target = eviction.resident.target
        await self._drop(target)

        def gone(node: NodeSnapshot) -> bool:
            return target not in {r.target for r in node.residents if r.vram != 0}

        if not await self._until(chosen.node, gone, self._limits.freed):
            raise UpstreamRejected(
                f"{target.service} was asked to unload {eviction.resident.label}, "
                f"but still holds it after {self._limits.freed:g} s",
                hint=f"Restart {target.service}, then try again.",
            )
        done.evicted.append(Evicted(eviction, time.monotonic() - begun))
        log.info("unloaded", target=str(target), why=eviction.why)

    async def _drop(self, target: Target) -> None:
        spec = self._services.map.service(target.service)
        if spec is None:
            raise NotFound(f"{target.service} left the service map meanwhile")
        await self._observer.driver(spec).unload(target.model)

    async def _until_free(self, chosen: SwitchPlan) -> None:
        """See by the card's own figures that memory came free; a service's word is not enough."""
        wanted = (chosen.needed or 0) + chosen.reserve

        def freed(node: NodeSnapshot) -> bool:
            card = node.gpu(chosen.gpu)
            free = card.vram_free if card else None
            # Without a figure of the card the services' lists, checked before, must do.
            return free is None or free >= wanted - 64 * MIB

        if not await self._until(chosen.node, freed, self._limits.freed):
            node = (await self.snapshot()).node(chosen.node)
            card = node.gpu(chosen.gpu) if node else None
            free = card.vram_free if card else None
            names = " and ".join(e.resident.service for e in chosen.evicts)
            raise UpstreamRejected(
                f"{names} said that its memory is free, but {spoken(free)} of the "
                f"{spoken(wanted)} needed are free after {self._limits.freed:g} s",
                hint=f"Restart {names}, or see what else runs on the card with gpu_status.",
            )

    async def _until(
        self, node: str, reached: Callable[[NodeSnapshot], bool], seconds: float
    ) -> bool:
        """Look at a node until it is as wanted; say whether that came in time."""
        limit = time.monotonic() + seconds
        while True:
            spec = self._services.map.node(node)
            if spec is not None:
                seen = await self._observer.node(spec, self._touched, frozenset(+self._in_use))
                if reached(seen):
                    return True
            if time.monotonic() >= limit:
                return False
            await asyncio.sleep(self._limits.poll)

    async def _report(
        self, chosen: SwitchPlan, done: _Done, said: str, load_seconds: float, started: float
    ) -> Switched:
        node = (await self.snapshot()).node(chosen.node)
        card = node.gpu(chosen.gpu) if node else None
        report = Switched(
            plan=chosen,
            evicted=tuple(done.evicted),
            loaded=said,
            load_seconds=load_seconds,
            seconds=time.monotonic() - started,
            free=card.vram_free if card else None,
        )
        if not chosen.already:
            await self._publish(report)
        return report

    async def _publish(self, report: Switched) -> None:
        if self._events is None:
            return
        data: dict[str, object] = {
            "service": report.plan.target.service,
            "model": report.plan.target.model,
            "node": report.plan.node,
            "evicted": [e.eviction.resident.label for e in report.evicted],
            "why": [e.eviction.why for e in report.evicted],
            "seconds": round(report.seconds, 2),
            "simulated": report.plan.simulated,
        }
        try:
            await self._events.publish("gpu", "gpu.switched", data)
        except NebulaError as error:
            log.warning("gpu event not stored", error=str(error))

    async def _explained(self, error: NebulaError, chosen: SwitchPlan, done: _Done) -> NebulaError:
        """Add to an error what was done before it, what is free now, and what to do next."""
        node = (await self.snapshot()).node(chosen.node)
        card = node.gpu(chosen.gpu) if node else None
        free = f"{spoken(card.vram_free)} are free now" if card else "The card is not visible now"
        message = f"{str(error).rstrip('.')}. {done.story()}{free}."
        back = done.evicted[0].eviction.resident.label if done.evicted else ""
        hint = error.hint
        if back:
            hint = f"{hint} Say 'load {back}' to bring {back} back.".strip()
        return type(error)(message, hint=hint)

    async def unload(
        self, service: str | None, node: str | None = None, *, force: bool = False
    ) -> Unloaded:
        """Unload a model, or everything a service holds; None = all that is not pinned.

        Raises:
            NotFound: when nothing is called that, or it is not loaded.
            Conflict: when it works right now and `force` was not asked for.
        """
        started = time.monotonic()
        snapshot = await self.snapshot()
        wanted = await self._targets(service, node) if service else self._loose(snapshot, node)
        held = self._held(snapshot, wanted)
        if not held:
            said = f"{wanted[0]} is not loaded" if service else "Nothing is loaded"
            raise NotFound(said, hint="gpu_status shows what is on the cards.")
        async with node_lock(self._conninfo, held[0][0], seconds=self._limits.lock):
            return await self._unload_now(wanted, held[0][0], started, force=force)

    def _loose(self, snapshot: GpuSnapshot, node: str | None) -> tuple[Target, ...]:
        """Return everything loaded that the map does not pin."""
        return tuple(
            r.target
            for seen in snapshot.nodes
            for r in seen.residents
            if node in {None, seen.name} and not self._services.map.pinned(r.target)
        )

    def _held(
        self, snapshot: GpuSnapshot, wanted: tuple[Target, ...]
    ) -> list[tuple[str, Target, int, bool]]:
        """Return (node, target, card, busy) of what is loaded among the wanted."""
        return [
            (node.name, r.target, r.gpu, bool(r.busy))
            for node in snapshot.nodes
            for r in node.residents
            for t in wanted
            if r.service == t.service and (t.model is None or r.model in {None, t.model})
        ]

    async def _unload_now(
        self, wanted: tuple[Target, ...], node_name: str, started: float, *, force: bool
    ) -> Unloaded:
        before = await self.snapshot()
        held = [h for h in self._held(before, wanted) if h[0] == node_name]
        if any(busy for *_, busy in held) and not force:
            raise Conflict(
                f"{held[0][1]} is working right now",
                hint="Try again when it is done, or use force to stop its work.",
            )
        for _, target, _, busy in held:
            spec = self._services.map.service(target.service)
            if spec is not None and busy:
                await self._observer.driver(spec).interrupt()
            await self._drop(target)
        targets = {h[1] for h in held}

        def gone(node: NodeSnapshot) -> bool:
            return targets.isdisjoint({r.target for r in node.residents if r.vram != 0})

        if not await self._until(node_name, gone, self._limits.freed):
            names = ", ".join(str(t) for t in sorted(targets, key=str))
            raise UpstreamRejected(
                f"{names} was asked to unload, but is still loaded after {self._limits.freed:g} s",
                hint="Restart the service, then try again.",
            )
        return self._unloaded(before, await self.snapshot(), node_name, held, started)

    def _unloaded(
        self,
        before: GpuSnapshot,
        after: GpuSnapshot,
        node: str,
        held: list[tuple[str, Target, int, bool]],
        started: float,
    ) -> Unloaded:
        gpu = held[0][2] if held else 0

        def free(snapshot: GpuSnapshot) -> int | None:
            seen = snapshot.node(node)
            card = seen.gpu(gpu) if seen else None
            return card.vram_free if card else None

        was, now = free(before), free(after)
        seen = after.node(node)
        return Unloaded(
            targets=tuple(h[1] for h in held),
            node=node,
            freed=None if was is None or now is None else max(0, now - was),
            free=now,
            seconds=time.monotonic() - started,
            simulated=bool(seen and seen.simulated),
        )

    def _touch(self, target: Target) -> None:
        self._touched[target] = datetime.now(UTC)


def _refuse(chosen: SwitchPlan) -> None:
    """Raise what a plan says when it cannot be carried out."""
    if chosen.fits:
        return
    if "not known" in chosen.refusal:
        raise InvalidInput(chosen.refusal, hint=chosen.hint)
    raise Conflict(chosen.refusal, hint=chosen.hint)
