"""The one way to change what is on a card: plan, switch, load, unload. No model takes part.

One change at a time per node, over all processes; the state is measured anew each time.
"""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog

from nebula.auth.principal import ProgressSink
from nebula.errors import Conflict, InvalidInput, NebulaError, NotFound, UpstreamRejected
from nebula.gpu.change import Change
from nebula.gpu.hands import Hands
from nebula.gpu.leases.service import Leases
from nebula.gpu.leases.switching import SwitchBooks
from nebula.gpu.lock import node_lock
from nebula.gpu.observe import Observer
from nebula.gpu.placement import plan
from nebula.gpu.plans import SwitchPlan, SwitchRequest
from nebula.gpu.reports import Switched, Unloaded
from nebula.gpu.snapshot import GpuSnapshot, NodeSnapshot, Resident
from nebula.services.directory import Publisher, ServiceDirectory
from nebula.services.map import Target
from nebula.services.resolve import resolve

log = structlog.get_logger()


async def _silent(fraction: float | None, message: str) -> None:
    """Tell nobody."""


class Broker:
    """Knows what is on every card, and makes cards serve something else."""

    def __init__(
        self,
        services: ServiceDirectory,
        observer: Observer,
        hands: Hands,
        leases: Leases,
        events: Publisher | None = None,
    ) -> None:
        """Take the map's directory, what looks and what moves models, and the ledger's face."""
        self.leases = leases
        self._services = services
        self._observer = observer
        self._hands = hands
        self._limits = hands.limits
        self._conninfo = leases.tools.db.conninfo
        self._events = events
        self.on_change: list[Callable[[], Awaitable[None]]] = []
        """Called after every change in this process, before its answer is given."""

    @property
    def observer(self) -> Observer:
        """Return what looks at the cards."""
        return self._observer

    async def _use(self) -> tuple[dict[Target, datetime], frozenset[Target]]:
        """Return when models were used last, and which are used now, by the ledger."""
        rows = await self.leases.rows()
        used = {
            r.target: datetime.fromtimestamp(r.last_used, UTC)
            for r in rows.residents
            if r.last_used is not None
        }
        now = [r for lease in rows.leases if (r := rows.resident(lease.resident)) is not None]
        return used, frozenset(r.target for r in now)

    async def snapshot(self) -> GpuSnapshot:
        """Look at every node now."""
        await self._services.refresh()
        return await self._observer.snapshot(*await self._use())

    async def _look(self, node: str) -> NodeSnapshot | None:
        spec = self._services.map.node(node)
        if spec is None:
            return None
        return await self._observer.node(spec, *await self._use(), fresh=True)

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
        sizes = self.leases.tools.pictures.size
        return plan(snapshot, request, self._services.map, sizes)

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
        found: list[Target] = []
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
        first = _accepted(await self.plan(service, node, evict=evict))
        async with node_lock(self._conninfo, first.node, seconds=self._limits.lock):
            # The world may have changed while we waited: plan again, for the node we hold.
            chosen = _accepted(await self.plan(service, first.node, evict=evict))
            await self.leases.look()
            change = self._change(chosen, progress)
            said = chosen.explanation if chosen.already else await change.run(force=force)
            node_now = await self._look(chosen.node)
        card = node_now.gpu(chosen.gpu) if node_now else None
        done = Switched(
            plan=chosen,
            evicted=tuple(change.evicted),
            loaded=said,
            load_seconds=change.load_seconds,
            seconds=time.monotonic() - started,
            free=card.vram_free if card else None,
        )
        await self._told_switch(done)
        return done

    async def load(
        self, service: str, node: str | None = None, *, progress: ProgressSink = _silent
    ) -> Switched:
        """Serve a service or model where there is room already; unload nothing."""
        return await self.switch(service, node, evict=False, progress=progress)

    def _change(self, chosen: SwitchPlan, progress: ProgressSink) -> Change:
        return Change(
            plan=chosen,
            hands=self._hands,
            books=SwitchBooks(self.leases),
            look=self._look,
            progress=progress,
        )

    async def unload(
        self,
        service: str | None,
        node: str | None = None,
        *,
        force: bool = False,
        progress: ProgressSink = _silent,
    ) -> Unloaded:
        """Unload a model, or everything a service holds; None = all that is not pinned.

        Raises:
            NotFound: when nothing is called that, or it is not loaded.
            Conflict: when it works right now and `force` was not asked for.
            UpstreamRejected: when a service holds on to it.
        """
        started = time.monotonic()
        wanted = await self._targets(service, node) if service else ()
        place = self._loaded(await self.snapshot(), wanted, node)[0].name
        async with node_lock(self._conninfo, place, seconds=self._limits.lock):
            before = self._loaded(await self.snapshot(), wanted, place)[0]
            held = self._matching(before, wanted)
            await self.leases.look()
            base = SwitchPlan(target=held[0].target, node=place, gpu=held[0].gpu)
            await self._drop(self._change(base, progress), held, force=force)
            after = await self._look(place)
        done = _unloaded(before, after, held, time.monotonic() - started)
        await self._tell(
            "gpu.unloaded",
            unloaded=[t.model_dump() for t in done.targets],
            node=done.node,
            simulated=done.simulated,
        )
        return done

    def _loaded(
        self, snapshot: GpuSnapshot, wanted: tuple[Target, ...], node: str | None
    ) -> list[NodeSnapshot]:
        """Return the nodes that hold something of what is wanted; raises NotFound for none."""
        found = [
            seen
            for seen in snapshot.nodes
            if node in {None, seen.name} and self._matching(seen, wanted)
        ]
        if not found:
            said = f"{wanted[0]} is not loaded" if wanted else "Nothing is loaded"
            raise NotFound(said, hint="gpu_status shows what is on the cards.")
        return found

    def _matching(self, node: NodeSnapshot, wanted: tuple[Target, ...]) -> list[Resident]:
        """Return what a node holds of what is wanted; without wishes, all that is not pinned."""
        if not wanted:
            return [r for r in node.residents if not self._services.map.pinned(r.target)]
        return [
            r
            for r in node.residents
            if any(
                r.service == t.service and (t.model is None or r.model in {None, t.model})
                for t in wanted
            )
        ]

    async def _drop(self, change: Change, held: list[Resident], *, force: bool) -> None:
        """Unload residents of one node, and wait until their services no longer list them."""
        working = [r.label for r in held if r.busy]
        if working and not force:
            raise Conflict(
                f"{', '.join(working)} is working right now",
                hint="Try again when it is done, or use force to stop its work.",
            )
        for resident in held:
            await change.progress(None, f"Unloading {resident.label}")
            if resident.busy:
                await change.hands.driver(resident.service).interrupt()
            why = f"unloaded {resident.label}: somebody asked for it"
            await change.unload([resident], why, force=force)
        in_time = await change.gone({r.target for r in held})
        for resident in held:
            settle = change.books.left if in_time else change.books.stays
            await settle(resident, change.plan.node)
        if not in_time:
            names = ", ".join(r.label for r in held)
            raise UpstreamRejected(
                f"{names} was to be unloaded, but is still loaded after {self._limits.freed:g} s",
                hint=f"Restart {held[0].service}, then try again.",
            )

    async def _told_switch(self, done: Switched) -> None:
        if done.plan.already:
            return
        gone = [e.eviction.resident for e in done.evicted]
        await self._tell(
            "gpu.switched",
            service=done.plan.target.service,
            model=done.plan.target.model,
            node=done.plan.node,
            evicted=[r.label for r in gone],
            unloaded=[r.target.model_dump() for r in gone],
            why=[e.eviction.why for e in done.evicted],
            seconds=round(done.seconds, 2),
            simulated=done.plan.simulated,
        )

    async def _tell(self, kind: str, **data: object) -> None:
        """Tell of a change; an event that is lost undoes no change."""
        if self._events is None:
            return
        try:
            await self._events.publish("gpu", kind, data)
        except NebulaError as error:
            log.warning("gpu event not stored", kind=kind, error=str(error))
            return
        for hear in self.on_change:
            await hear()


def _accepted(chosen: SwitchPlan) -> SwitchPlan:
    """Return a plan that can be carried out; raise its refusal otherwise."""
    if chosen.fits:
        return chosen
    if "not known" in chosen.refusal:
        raise InvalidInput(chosen.refusal, hint=chosen.hint)
    raise Conflict(chosen.refusal, hint=chosen.hint)


def _unloaded(
    before: NodeSnapshot, after: NodeSnapshot | None, held: list[Resident], seconds: float
) -> Unloaded:
    was, now = (
        card.vram_free if node and (card := node.gpu(held[0].gpu)) else None
        for node in (before, after)
    )
    return Unloaded(
        targets=tuple(r.target for r in held),
        node=before.name,
        freed=None if was is None or now is None else max(0, now - was),
        free=now,
        seconds=seconds,
        simulated=before.simulated,
    )
