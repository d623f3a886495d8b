"""The only way to a GPU service: take a lease, work, give it back."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.principal import Principal, ProgressSink
from nebula.db.bare import Bare, bare_in
from nebula.errors import (
    Conflict,
    NebulaError,
    NotFound,
    PermissionDenied,
    TimedOut,
    UpstreamUnavailable,
)
from nebula.gpu.drivers.wire import refused
from nebula.gpu.leases.history import History
from nebula.gpu.leases.keeper import Keeper
from nebula.gpu.leases.lease import Lease
from nebula.gpu.leases.ledger import Owner, card_id, place_of, resident_id
from nebula.gpu.leases.need import GpuNeed
from nebula.gpu.leases.reconcile import Reconciler
from nebula.gpu.leases.records import Records
from nebula.gpu.leases.rows import LeaseState, ResidentState, Rows, database_now, read
from nebula.gpu.leases.signals import wait
from nebula.gpu.leases.tools import Tools
from nebula.gpu.policy.types import PriorityClass
from nebula.gpu.snapshot import GpuSnapshot

log = structlog.get_logger(__name__)

_SYSTEM = Owner("system", "Jarvis")
_LOOK_AGAIN = 1.0


def _nobody() -> None:
    """Let others schedule."""


class Leases:
    """Hands out leases, for people's work at once and for jobs when their turn comes."""

    def __init__(self, tools: Tools, see: Callable[[], Awaitable[GpuSnapshot]]) -> None:
        """Take the tools, and what looks at every card and service."""
        self.tools = tools
        self._see = see
        self._reconciler = Reconciler(tools.ledger, tools.services, tools.pictures)
        self.schedule: Callable[[], None] = _nobody
        """Sees that this process stands for scheduler, because somebody waits in it."""
        self.records = Records(tools.db, tools.signals)
        self.history = History(tools)
        self.keeper = Keeper(tools.db, tools.ledger, tools.signals)
        self.holder = uuid4().hex
        self._counted: tuple[float, frozenset[str]] = (0.0, frozenset())

    async def close(self) -> None:
        """Stop renewing leases and hearing signals."""
        await self.keeper.close()
        await self.tools.signals.close()

    async def rows(self) -> Rows:
        """Return everything the ledger holds that is not over."""
        async with self.tools.db.session() as session:
            return await read(session)

    async def list(self, principal: Principal) -> tuple[LeaseState, ...]:
        """Return the leases that have not ended; raises PermissionDenied."""
        if not principal.can("gpu:read"):
            raise PermissionDenied("You may not see the GPU's leases")
        return (await self.rows()).leases

    async def release(self, lease: str, by: Principal, reason: str = "") -> LeaseState:
        """Take a lease away from its holder, who is told to stop and has a few seconds for it.

        Its memory is not given to anybody before the work is known to have stopped.

        Raises:
            NotFound: when no open lease has this id.
            PermissionDenied: when this person may not take leases away.
        """
        if not by.can("gpu:write"):
            raise PermissionDenied("You may not take GPU leases away")
        said = f"{by.name} released it" + (f": {reason}" if reason else "")
        async with self.tools.db.session() as session:
            return await self.records.release(session, self.tools.ledger, lease, said)

    def counts(self, need: GpuNeed) -> str | None:
        """Return the card that work for a service is counted on, as the map says."""
        spec = self.tools.services().service(need.service) if need.service else None
        return card_id(spec.node, spec.gpu) if spec is not None and spec.on_gpu else None

    @asynccontextmanager
    async def hold(
        self,
        need: GpuNeed,
        *,
        owner_id: str = _SYSTEM.id,
        owner_name: str = _SYSTEM.name,
        job_id: str | None = None,
        wait_seconds: float | None = None,
        progress: ProgressSink | None = None,
        load: bool = True,
    ) -> AsyncIterator[Lease]:
        """Hold a place on a card while the block runs, with its model loaded.

        `load=False` leaves loading to the work itself, as a chat request does to Ollama. Where
        nothing is counted (no card, or a model of unknown size for a chat) the lease is a formality.

        Raises:
            Conflict: when no place came free within `wait_seconds`.
            NotFound: when the service left the map.
            NebulaError: as the service says when loading fails.
        """
        owner = Owner(owner_id, owner_name, job_id)
        held = await self._warm(need, owner)
        if held is not None:
            async with self._short(held) as lease:
                yield lease
            return
        if not await self.counted_on(need):
            yield _formality(need, job_id)
            return
        limit = self.tools.settings.wait_seconds if wait_seconds is None else wait_seconds
        held = await self._in_line(need, owner, limit)
        async with self.kept(held, progress, load=load) as lease:
            yield lease

    @asynccontextmanager
    async def _short(self, held: LeaseState) -> AsyncIterator[Lease]:
        """Keep the lease of a model that is loaded already, and end it in one statement."""
        lease = lease_of(held)
        self.keeper.keep(lease, self.tools.settings.lease_seconds)
        begun, well = time.monotonic(), False
        try:
            yield lease
            well = True
        finally:
            self.keeper.drop(lease)
            run = time.monotonic() - begun if well else None
            await asyncio.shield(self._ended(held, run))

    async def _ended(self, held: LeaseState, run: float | None) -> None:
        assert held.service is not None
        try:
            async with self.tools.db.bare() as db:
                peak = await self.tools.ledger.end_short(db, held)
            if peak is not None:
                await self.tools.pictures.footprints.record(
                    held.service, held.model, held.bucket, peak_vram=peak, run_seconds=run
                )
        except NebulaError as error:
            log.warning("gpu lease not ended; it will expire", lease=held.id, error=str(error))

    @asynccontextmanager
    async def kept(
        self,
        held: LeaseState,
        progress: ProgressSink | None,
        *,
        load: bool = True,
        lost: Callable[[], None] | None = None,
        ends: bool = True,
        tell: bool = True,
    ) -> AsyncIterator[Lease]:
        """Renew a lease of this process, load its model, and end it afterwards.

        `ends=False` leaves the end to whoever records how the work ended; `tell=False` leaves it
        to the caller to tell that a model was loaded.
        """
        lease = lease_of(held)
        begun, loaded_in, well = time.monotonic(), None, False
        self.keeper.keep(lease, self.tools.settings.lease_seconds, lost)
        try:
            loaded_in = await self._prepare(held, progress, load=load)
            begun = time.monotonic()
            yield lease
            well = True
        finally:
            self.keeper.drop(lease)
            run = time.monotonic() - begun if well else None
            over = _Over(loaded_in, run, brought=not load, ends=ends, tell=tell)
            await asyncio.shield(self._over(held, over))

    async def _warm(self, need: GpuNeed, owner: Owner) -> LeaseState | None:
        """Take a model that is loaded, in one transaction, when nobody waits.

        Its statements are sent together: a token that nobody gets is only a gap between tokens.
        A lease whose answer is lost with the connection has no holder, and expires.
        """
        card = self.counts(need)
        if card is None or not self.known(card):
            return None
        async with self.tools.db.bare(writes=False) as db, db.together():
            return await self._taken_warm(db, need, owner, card, holder=self.holder)

    async def take_warm(
        self, session: AsyncSession, need: GpuNeed, owner: Owner, *, holder: str | None = None
    ) -> LeaseState | None:
        """Take a loaded model within the caller's transaction; without a holder, for a worker."""
        card = self.counts(need)
        if card is None or need.service is None:
            return None
        async with session.begin_nested() as inner:
            bare = await bare_in(session)
            taken = await self._taken_warm(bare, need, owner, card, holder=holder)
            if taken is None:
                await inner.rollback()
        return taken

    async def _taken_warm(
        self,
        db: Bare,
        need: GpuNeed,
        owner: Owner,
        card: str,
        *,
        holder: str | None,
    ) -> LeaseState | None:
        assert need.service is not None
        pictures, settings = self.tools.pictures, self.tools.settings
        one = pictures.one(need.service)
        return await self.tools.ledger.take_warm(
            db,
            need,
            owner,
            resident_id(card, need.service, need.model, one=one),
            card,
            vram=pictures.needed(need) or 0,
            parallel=pictures.parallel(need.service),
            seconds=settings.lease_seconds if holder else settings.pickup_seconds,
            expected_seconds=pictures.run_seconds(need),
            holder=holder,
        )

    def known(self, card: str) -> bool:
        """Say whether the ledger had this card when it was last looked at."""
        at, cards = self._counted
        return card in cards or time.monotonic() - at > self.tools.settings.idle_observe_seconds

    async def counted_on(self, need: GpuNeed) -> bool:
        """Say whether there is a card to count on; look again when that is not known."""
        card = self.counts(need)
        if need.service is not None and card is None:
            if self.tools.services().service(need.service) is None:
                raise NotFound(f"{need.service} is not in the service map")
            return False
        self.schedule()
        at, cards = self._counted
        if time.monotonic() - at > self.tools.settings.idle_observe_seconds or card not in cards:
            found = await self.records.cards()
            if card is not None and card not in found:
                await self.look()
                found = await self.records.cards()
            self._counted = (time.monotonic(), found)
        if card is not None and card not in self._counted[1]:
            return False
        known = self.tools.pictures.needed(need) is not None
        if not known and need.klass is not PriorityClass.CHAT:
            raise Conflict(
                f"How much VRAM {need.label} needs is not known",
                hint=f"Give {need.label} a budget (`vram:`) in service-map.yml.",
            )
        return known

    async def look(self) -> None:
        """Look at the cards now and write down what is seen."""
        async with self.tools.db.session() as session:
            began = await database_now(session)
        seen = await self._see()
        async with self.tools.db.session() as session:
            await self._reconciler.apply(session, seen, began)

    async def _in_line(self, need: GpuNeed, owner: Owner, seconds: float) -> LeaseState:
        """Stand in line until the scheduler gives a place."""
        signals, ledger = self.tools.signals, self.tools.ledger
        await signals.listening()
        async with self.tools.db.session() as session:
            key = await ledger.request(session, need, owner)
        try:
            with signals.expect(f"placed {key}") as placed:
                limit = time.monotonic() + seconds
                while (left := limit - time.monotonic()) > 0:
                    told = await wait(placed, min(_LOOK_AGAIN, left))
                    if (held := await self._taken_up(key, alive=not told)) is not None:
                        return held
            because = await self.records.because(key)
        except BaseException:
            await asyncio.shield(self.records.withdraw(key))
            raise
        if (held := await self._withdrawn(key)) is not None:
            return held
        raise Conflict(
            f"No GPU became free for {need.label} within {seconds:g} s"
            + (f": {because}" if because else ""),
            hint="gpu_status shows what is on the cards and who waits.",
        )

    async def _taken_up(self, key: str, *, alive: bool = False) -> LeaseState | None:
        seconds = self.tools.settings.lease_seconds
        async with self.tools.db.session() as session:
            if alive:
                await self.records.alive(session, key)
            return await self.tools.ledger.take_up(session, self.holder, seconds, request=key)

    async def _withdrawn(self, key: str) -> LeaseState | None:
        """Take a wish back; when it was placed in the last moment, take its place instead."""
        if await self.records.withdraw(key):
            return None
        return await self._taken_up(key)

    async def _prepare(
        self, held: LeaseState, progress: ProgressSink | None, *, load: bool
    ) -> float | None:
        """See that the lease's model is loaded; return how long loading it took, if it was ours."""
        if held.resident is None:
            return None
        signals = self.tools.signals
        with signals.expect(f"loaded {held.resident}") as changed:
            while True:
                seat = await self.records.resident(held.resident)
                if seat is not None and seat.state == "loaded" and seat.model == held.model:
                    return None
                if seat is None:
                    raise UpstreamUnavailable(f"{held.label} could not be loaded; try again")
                if seat.loader == held.id:
                    return await self._load(held, seat, progress) if load else None
                if not load and seat.state == "loading":
                    return None
                if seat.state == "loading" and await self._takes_over(held):
                    return await self._load(held, seat, progress)
                await wait(changed, _LOOK_AGAIN)

    async def _takes_over(self, held: LeaseState) -> bool:
        async with self.tools.db.session() as session:
            return await self.tools.ledger.take_over(session, held)

    async def _load(
        self, held: LeaseState, seat: ResidentState, progress: ProgressSink | None
    ) -> float:
        expected = self.tools.pictures.load_seconds(seat.target)
        if progress is not None:
            await progress(None, f"Loading {seat.label} ({expected:.0f} s)…")
        begun = time.monotonic()
        try:
            await self.tools.hands.load(seat.target)
        except NebulaError as error:
            # Who fell silent may be loading all the same; the next look tells.
            silent = isinstance(error, UpstreamUnavailable | TimedOut) and not refused(error)
            async with self.tools.db.session() as session:
                await self.tools.ledger.not_loaded(
                    session, seat.id, seat.card, held.id, over=not silent
                )
            raise
        await self._arrived(held)
        return time.monotonic() - begun

    async def _closed(self, session: AsyncSession, held: LeaseState, *, ends: bool) -> int | None:
        """End a lease, unless others do; count its use and return the peak that was measured."""
        ledger, footprints = self.tools.ledger, self.tools.pictures.footprints
        if ends and held.resident is not None:
            return await ledger.end_short(session, held)
        peak = await self.records.peak(session, held.id)
        if ends:
            await ledger.end(session, held, "done")
        if held.service is not None:
            await footprints.used(session, held.service, held.model)
        return peak

    async def _arrived(self, held: LeaseState, *, tell: bool = True) -> None:
        assert held.resident is not None
        async with self.tools.db.session() as session:
            news = await self.tools.ledger.loaded(session, held.resident)
        if not (news and tell):
            return
        node, _ = place_of(held.card)
        data: dict[str, object] = {"service": held.service, "model": held.model, "node": node}
        await self.tell("gpu.loaded", data)

    async def _brought(self, held: LeaseState, over: "_Over") -> None:
        """Note what became of a model that the work itself loaded."""
        assert held.resident is not None
        if over.run_seconds is not None:
            await self._arrived(held, tell=over.tell)
            return
        async with self.tools.db.session() as session:
            await self.tools.ledger.not_loaded(session, held.resident, held.card, held.id)

    async def tell(self, kind: str, data: dict[str, object]) -> None:
        """Tell of a change; an event that is lost undoes no change."""
        if self.tools.events is None:
            return
        try:
            await self.tools.events.publish("gpu", kind, data)
        except NebulaError as error:
            log.warning("gpu event not stored", kind=kind, error=str(error))

    async def _over(self, held: LeaseState, over: "_Over") -> None:
        """End a lease and keep what was measured; a database that is away lets it expire."""
        try:
            if over.brought and held.resident is not None:
                await self._brought(held, over)
            async with self.tools.db.session() as session:
                peak = await self._closed(session, held, ends=over.ends)
                if held.service is None or (over.load_seconds is None and peak is None):
                    return
                await self.tools.pictures.footprints.record(
                    held.service,
                    held.model,
                    held.bucket,
                    peak_vram=peak,
                    load_seconds=over.load_seconds,
                    run_seconds=over.run_seconds,
                    session=session,
                )
        except NebulaError as error:
            log.warning("gpu lease not ended; it will expire", lease=held.id, error=str(error))


@dataclass(frozen=True)
class _Over:
    """How a held lease ended: what was measured, and what is left to do."""

    load_seconds: float | None
    run_seconds: float | None
    """None when the work failed."""
    brought: bool
    """The work itself loaded the model."""
    ends: bool
    tell: bool


def lease_of(held: LeaseState) -> Lease:
    """Return a lease as its holder sees it."""
    node, gpu = place_of(held.card)
    lease = Lease(
        id=held.id,
        token=held.token,
        node=node,
        gpu=gpu,
        service=held.service,
        model=held.model,
        vram=held.vram,
        expires_at=datetime.fromtimestamp(held.expires, UTC),
        job_id=held.job_id,
    )
    if held.should_yield:
        lease.should_yield.set()
    return lease


def _formality(need: GpuNeed, job_id: str | None) -> Lease:
    """Return a lease that nothing stands behind: what it uses is not counted."""
    return Lease(
        id="",
        token=0,
        node=need.node or "",
        gpu=0,
        service=need.service,
        model=need.model,
        vram=0,
        job_id=job_id,
    )
