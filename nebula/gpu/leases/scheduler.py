"""The loop that decides: the ledger's rows and what the cards say in, leases and evictions out.

One process leads. A tick writes what is seen, buries lost leases, asks the policy and applies its
answers, each in a transaction of its own: a tick that breaks half-way is taken up by the next one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import psycopg
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.errors import Conflict, NebulaError
from nebula.gpu.leases.evicting import Evicting
from nebula.gpu.leases.leader import Leadership, leadership
from nebula.gpu.leases.ledger import Ledger
from nebula.gpu.leases.measuring import Measuring
from nebula.gpu.leases.need import GpuNeed
from nebula.gpu.leases.rows import RequestState, Rows, read
from nebula.gpu.leases.service import Leases
from nebula.gpu.leases.signals import wait
from nebula.gpu.leases.tools import Tools
from nebula.gpu.policy.decide import decide
from nebula.gpu.policy.rules import Rules
from nebula.gpu.policy.types import Decision, Evict, Option, Snapshot, Start, Wait, Yield

log = structlog.get_logger(__name__)

Decide = Callable[[Snapshot, Rules], tuple[Decision, ...]]
Ready = Callable[[AsyncSession, str], Awaitable[None]]
Waits = Callable[[AsyncSession, str, str], Awaitable[None]]
Comebacks = Callable[[Rows], Awaitable[Sequence[GpuNeed]]]

_PAUSES = (0.2, 1.0, 2.0, 5.0)
_COMEBACK_EVERY = 10.0
_PRUNE_EVERY = 600.0

_BECAUSE = text(
    "UPDATE gpu_requests SET because = :because "
    "WHERE id = :id AND state = 'waiting' AND because <> :because RETURNING job_id"
)
_PRUNE = (
    text("DELETE FROM gpu_decisions WHERE at < now() - make_interval(secs => :seconds)"),
    text(
        "DELETE FROM gpu_leases WHERE state = 'ended' "
        "AND ended_at < now() - make_interval(secs => :seconds)"
    ),
    text(
        "DELETE FROM gpu_requests WHERE state IN ('done', 'withdrawn') "
        "AND created_at < now() - make_interval(secs => :seconds)"
    ),
)


async def _no_job(session: AsyncSession, job: str, because: str = "") -> None:
    """Tell nobody: jobs are not opened here."""


class Scheduler:
    """Decides who gets which card, while its process leads."""

    def __init__(
        self,
        tools: Tools,
        leases: Leases,
        *,
        rules: Rules | None = None,
        decide: Decide = decide,
    ) -> None:
        """Take what leases are made with, and who hands them out."""
        self._tools = tools
        self._ledger: Ledger = tools.ledger
        self._leases = leases
        self._rules = rules or Rules()
        self._decide = decide
        self._evicting = Evicting(tools, leases.tell)
        self._measuring = Measuring(tools)
        self._seen_at = -1e9
        self._at: dict[str, float] = {}
        self._reasons: dict[str, str] = {}
        self._coming: asyncio.Task[None] | None = None
        self._work: asyncio.Task[None] | None = None
        self.ready: Ready = _no_job
        self.waits: Waits = _no_job
        self.comebacks: Comebacks | None = None
        self.leading = False

    def start(self) -> None:
        """See that this process stands for leader; it costs nothing when it does already."""
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._run(), name="gpu-scheduler")

    async def close(self) -> None:
        """Stop; what was begun is taken up by the next leader."""
        tasks = [t for t in (self._work, self._coming) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._evicting.close()
        self._work = self._coming = None

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                conninfo = self._tools.db.conninfo
                every = self._tools.settings.poll_seconds
                async with leadership(conninfo, every=every) as lead:
                    log.info("gpu_scheduler_leads")
                    self.leading = True
                    failures = 0
                    await self._lead(lead)
            except (psycopg.Error, NebulaError) as error:
                log.warning("gpu_scheduler_interrupted", error=str(error).strip())
            finally:
                self.leading = False
            await asyncio.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])
            failures += 1

    async def _lead(self, lead: Leadership) -> None:
        signals = self._tools.signals
        await signals.listening()
        await self._evicting.take_over()
        with signals.expect("tick") as told:
            while True:
                told.clear()
                active = await self.tick()
                settings = self._tools.settings
                pause = settings.poll_seconds if active else settings.idle_observe_seconds / 3
                await wait(told, pause)
                await lead.confirm()

    async def tick(self) -> bool:
        """Do one round; say whether anything waits, works or moves."""
        rows = await self._rows()
        if self._stale(rows):
            await self.observe()
            rows = await self._rows()
        await self._measuring.sample(rows)
        if rows.waiting:
            await self._tools.pictures.footprints.refresh()
            await self._apply(rows)
        # Whoever unloads has twice the limit for it: until it is listed no more, and until it is free.
        self._evicting.resume(rows, forgotten=2.5 * self._tools.hands.limits.freed)
        await self._unload_idle(rows)
        await self._bring_back(rows)
        await self._prune()
        return bool(rows.waiting or rows.leases or self._evicting.busy)

    async def _rows(self) -> Rows:
        """Bury what is lost, now and then, and read what is there."""
        settings = self._tools.settings
        async with self._tools.db.session() as session:
            if self._due("bury", settings.poll_seconds / 2):
                await self._ledger.expire(session)
                await self._ledger.bury(session, settings.grace_seconds)
                await self._ledger.forget_silent(session, settings.lease_seconds)
            return await read(session)

    def _stale(self, rows: Rows) -> bool:
        settings = self._tools.settings
        active = rows.waiting or rows.leases
        limit = settings.observe_seconds if active else settings.idle_observe_seconds
        return time.monotonic() - self._seen_at > limit

    async def observe(self) -> None:
        """Look at every card and service, and write down what is seen."""
        await self._leases.look()
        self._seen_at = time.monotonic()

    async def _apply(self, rows: Rows) -> None:
        """Ask the policy, and do what it says."""
        wishes = {w.id: w for w in rows.waiting}
        self._reasons = {k: said for k, said in self._reasons.items() if k in wishes}
        cards = rows.cards
        for decision in self._decide(self._tools.pictures.snapshot(rows), self._rules):
            if isinstance(decision, Start):
                wish = wishes[decision.request]
                options = self._tools.pictures.options(wish.need, cards)
                option = next(o for o in options if o.card == decision.card)
                await self._start(wish, option, decision)
            elif isinstance(decision, Evict):
                wish = wishes[decision.for_request]
                self._evicting.begin(rows.resident(decision.loaded), decision.reason, wish)
            elif isinstance(decision, Yield):
                await self._ask_to_yield(rows, decision)
            else:
                await self._wait(decision)

    async def _start(self, wish: RequestState, option: Option, decision: Start) -> None:
        """Give a place; a job goes before the workers in the same transaction."""
        settings = self._tools.settings
        try:
            async with self._tools.db.session() as session:
                if wish.job_id is not None:
                    # The job's row comes before the ledger's: that is the order of its workers.
                    await self.ready(session, wish.job_id)
                placed = await self._ledger.place(
                    session,
                    wish.id,
                    option.card,
                    vram=option.vram or 0,
                    one=option.holds == "one",
                    parallel=option.parallel,
                    seconds=settings.pickup_seconds,
                    expected_seconds=option.load_seconds + option.run_seconds,
                )
                if placed is None:
                    await session.rollback()
                    return
                await self._ledger.decided(
                    session,
                    "start",
                    wish.need.label,
                    decision.reason,
                    card=option.card,
                    request=wish.id,
                )
        except Conflict as error:
            # Two transactions collided; the next round tries again.
            log.info("gpu placement collided", request=wish.id, error=str(error))
            await self._tick_again()

    async def _tick_again(self) -> None:
        async with self._tools.db.session() as session:
            await self._ledger.notify(session)

    async def _ask_to_yield(self, rows: Rows, decision: Yield) -> None:
        lease = next((v for v in rows.leases if v.id == decision.running), None)
        if lease is None or lease.should_yield:
            return
        async with self._tools.db.session() as session:
            await self._ledger.ask_to_yield(session, [lease.id])
            await self._ledger.decided(
                session,
                "yield",
                lease.label,
                decision.reason,
                card=lease.card,
                request=decision.for_request,
            )

    async def _wait(self, decision: Wait) -> None:
        """Write down why a wish waits, when that is news."""
        reason = self._evicting.trouble(decision.request) or decision.reason
        if self._reasons.get(decision.request) == reason:
            return
        self._reasons[decision.request] = reason
        async with self._tools.db.session() as session:
            values = {"id": decision.request, "because": reason}
            row = (await session.execute(_BECAUSE, values)).one_or_none()
            if row is not None:
                await self._ledger.decided(
                    session, "wait", decision.request[:8], reason, request=decision.request
                )
                if row.job_id is not None:
                    await self.waits(session, row.job_id, reason)

    async def _unload_idle(self, rows: Rows) -> None:
        """Unload what nobody has used for as long as its service's entry, or the setting, says."""
        services = self._tools.services()
        for resident in rows.residents:
            spec = services.service(resident.service)
            minutes = spec.idle_minutes if spec is not None else None
            minutes = self._tools.settings.idle_minutes if minutes is None else minutes
            used = resident.last_used if resident.last_used is not None else resident.changed
            idle = rows.now - max(used, resident.changed)
            kept = resident.busy or resident.state != "loaded" or rows.leases_on(resident.id)
            if minutes <= 0 or idle < minutes * 60 or kept or services.pinned(resident.target):
                continue
            reason = f"unloaded {resident.label}: nobody has used it for {idle / 60:.0f} minutes"
            self._evicting.begin(resident, reason, None)

    async def _bring_back(self, rows: Rows) -> None:
        """Ask again for models that gave their card to something that is idle now."""
        if self.comebacks is None or not self._due("comeback", _COMEBACK_EVERY):
            return
        if self._coming is not None and not self._coming.done():
            return
        for need in await self.comebacks(rows):
            self._coming = asyncio.create_task(self._return(need), name="gpu-comeback")
            return

    async def _return(self, need: GpuNeed) -> None:
        try:
            async with self._leases.hold(need):
                pass
        except NebulaError as error:
            log.info("model does not come back yet", model=need.label, error=str(error))

    async def _prune(self) -> None:
        if not self._due("prune", _PRUNE_EVERY):
            return
        seconds = self._tools.settings.decision_days * 86_400
        async with self._tools.db.session() as session:
            for statement in _PRUNE:
                await session.execute(statement, {"seconds": seconds})

    def _due(self, what: str, every: float) -> bool:
        now = time.monotonic()
        if now - self._at.get(what, -1e9) < every:
            return False
        self._at[what] = now
        return True
