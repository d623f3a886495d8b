"""The ledger on PostgreSQL as a state machine: random transactions, crashes and clocks.

The world outside (services, nodes, workers) is simulated; the ledger, its transactions and the
policy are the real ones. `PLANTED` names deliberate bugs that the checks must find.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.db.engine import Database
from nebula.gpu.leases.ledger import Ledger, Owner
from nebula.gpu.leases.need import GpuNeed
from nebula.gpu.leases.rows import LeaseState, Rows, read
from nebula.gpu.policy.types import PriorityClass
from nebula.services.sizes import GIB

CARDS = {"a/0": 8 * GIB, "b/0": 12 * GIB}
_GRACE = 15.0
_LEASE = 30.0


class NoRowLock(Ledger):
    """Planted: the card's row is read without its lock."""

    lock_card = Ledger.lock_card.replace(" FOR UPDATE", "")


class NoTokenCheck(Ledger):
    """Planted: whoever names a lease is believed, whatever became of it meanwhile."""

    held = "id = :id AND :token > 0"


class ExpiryFrees(Ledger):
    """Planted: memory is given away as soon as a lease has expired."""

    freed = "state = 'lost' AND :grace > 0"


PLANTED: dict[str, Callable[[], Ledger]] = {
    "no row lock": NoRowLock,
    "no token check": NoTokenCheck,
    "expiry frees at once": ExpiryFrees,
    "effect outside the transaction": Ledger,
}


class Violation(AssertionError):
    """An invariant does not hold."""


class Crash(Exception):
    """The process dies here."""


@dataclass
class Work:
    """A worker that holds a lease, alive or a zombie; its process uses the card all the while."""

    job: str
    lease: LeaseState
    alive: bool = True


@dataclass
class World:
    """Jobs, workers, and what is true of them outside the ledger."""

    db: Database
    ledger: Ledger
    rng: random.Random
    outside: bool = False
    """Planted: jobs are put before the workers in a transaction of their own."""
    jobs: dict[str, int] = field(default_factory=dict)
    ready: set[str] = field(default_factory=set)
    ended: dict[str, int] = field(default_factory=dict)
    works: list[Work] = field(default_factory=list)
    steps: int = 0
    _stopped: set[str] = field(default_factory=set)
    _lost: set[str] = field(default_factory=set)

    async def set_up(self) -> None:
        """Make the cards and the table in which jobs are put before the workers."""
        async with self.db.session() as session:
            await session.execute(text("CREATE TABLE ready (job text PRIMARY KEY)"))
            for card, size in CARDS.items():
                await session.execute(
                    text("INSERT INTO gpu_cards (id, node, gpu, capacity) VALUES (:i, :n, 0, :c)"),
                    {"i": card, "n": card[0], "c": size},
                )

    async def step(self) -> None:
        """Do one random thing, then check everything."""
        self.steps += 1
        chosen = self.rng.choices(
            [self.submit, self.place, self.place_two, self.crash_placing, self.take_up,
             self.finish, self.die, self.zombie, self.pass_time, self.bury, self.renew],
            [6, 6, 3, 2, 6, 4, 3, 1, 4, 4, 2],
        )[0]  # fmt: skip
        await chosen()
        await self.check()

    async def rows(self) -> Rows:
        """Read the ledger."""
        async with self.db.session() as session:
            return await read(session)

    async def submit(self) -> None:
        """Somebody submits a job."""
        if sum(j not in self.ended for j in self.jobs) >= 6:
            return
        job = f"job{len(self.jobs)}"
        size = self.rng.choice([2, 3, 5, 7]) * GIB
        self.jobs[job] = size
        async with self.db.session() as session:
            await self._ask(session, job)

    async def _ask(self, session: AsyncSession, job: str) -> None:
        need = GpuNeed(klass=PriorityClass.BATCH, vram=self.jobs[job], what=job)
        await self.ledger.request(session, need, Owner("o", "o", job))

    async def _place(self, session: AsyncSession, request: str, job: str, card: str) -> bool:
        grant = await self.ledger.place(
            session, request, card, vram=self.jobs[job], one=False, parallel=1, seconds=_LEASE
        )
        if grant is None:
            return False
        if self.outside:
            async with self.db.session() as other:
                await self._ready(other, job)
        else:
            await self._ready(session, job)
        return True

    async def _ready(self, session: AsyncSession, job: str) -> None:
        put = "INSERT INTO ready (job) VALUES (:job) ON CONFLICT DO NOTHING"
        await session.execute(text(put), {"job": job})

    async def place(self) -> None:
        """The scheduler places a job."""
        await self._placing(1, crash=False)

    async def place_two(self) -> None:
        """Two schedulers that both believe to lead place at the same moment."""
        await self._placing(2, crash=False)

    async def crash_placing(self) -> None:
        """The scheduler dies just before its transaction is saved."""
        await self._placing(1, crash=True)

    async def _placing(self, count: int, *, crash: bool) -> None:
        waiting = list((await self.rows()).waiting)
        self.rng.shuffle(waiting)
        card = self.rng.choice(list(CARDS))
        gate = asyncio.Barrier(count)

        async def one(request: str, job: str) -> None:
            try:
                async with self.db.session() as session:
                    if not await self._place(session, request, job, card):
                        await session.rollback()
                    # A lock lets only one of them come this far; the others wait for it.
                    try:
                        async with asyncio.timeout(0.03 if count > 1 else None):
                            await gate.wait()
                    except (TimeoutError, asyncio.BrokenBarrierError):
                        await gate.abort()
                    if crash:
                        raise Crash
            except Crash:
                return

        await asyncio.gather(*(one(w.id, str(w.job_id)) for w in waiting[:count]))

    async def take_up(self) -> None:
        """A worker takes a job that was put before it."""
        async with self.db.session() as session:
            jobs = list((await session.execute(text("SELECT job FROM ready"))).scalars())
        if not jobs:
            return
        job = self.rng.choice(jobs)
        async with self.db.session() as session:
            lease = await self.ledger.take_up(session, f"worker {self.steps}", _LEASE, job=job)
            await session.execute(text("DELETE FROM ready WHERE job = :job"), {"job": job})
            if lease is None:
                await self._again(session, job)
            else:
                self.works.append(Work(job, lease))

    async def _again(self, session: AsyncSession, job: str) -> None:
        """Ask for another place when the one there was is gone."""
        if job in self.ended:
            return
        await session.execute(
            text("UPDATE gpu_requests SET state = 'withdrawn' WHERE job_id = :job "
                 "AND state IN ('waiting', 'placed')"), {"job": job},
        )  # fmt: skip
        await self._ask(session, job)

    async def finish(self) -> None:
        """A live worker ends its job: lease and job in one transaction."""
        await self._finish([w for w in self.works if w.alive])

    async def zombie(self) -> None:
        """A worker that was declared dead wakes up and reports."""
        await self._finish([w for w in self.works if not w.alive])

    async def _finish(self, works: list[Work]) -> None:
        if not works:
            return
        work = self.rng.choice(works)
        async with self.db.session() as session:
            accepted = await self.ledger.end(session, work.lease, "done")
        self.works.remove(work)
        if accepted:
            if work.lease.id in self._lost:
                raise Violation(f"{work.job}: the stale token {work.lease.token} was accepted")
            self.ended[work.job] = self.ended.get(work.job, 0) + 1

    async def die(self) -> None:
        """A worker dies or hangs: it renews no more, but what it started goes on for a while."""
        alive = [w for w in self.works if w.alive]
        if alive:
            self.rng.choice(alive).alive = False

    async def renew(self) -> None:
        """Live workers renew; the dead try, too, as zombies do."""
        for work in list(self.works):
            async with self.db.session() as session:
                renewed = await self.ledger.renew(
                    session, work.lease.id, work.lease.token, _LEASE
                ) if work.alive else None  # fmt: skip
            if work.alive and renewed is None:
                self.works.remove(work)  # it stops its work, as its keeper does

    async def pass_time(self) -> None:
        """Let time pass for leases: the live ones renew, the others come nearer to their end."""
        seconds = self.rng.choice([5.0, 31.0, 31.0])
        live = [w.lease.id for w in self.works if w.alive]
        async with self.db.session() as session:
            await session.execute(
                text("UPDATE gpu_leases SET expires_at = expires_at - make_interval(secs => :s) "
                     "WHERE state <> 'ended' AND NOT id = ANY(:live)"),
                {"s": seconds, "live": live},
            )  # fmt: skip
            # A node stops by itself what has had no lease for the grace time.
            gone = await session.execute(
                text("SELECT id FROM gpu_leases WHERE state <> 'ended' AND expires_at "
                     "+ make_interval(secs => :g) < clock_timestamp()"), {"g": _GRACE},
            )  # fmt: skip
            self._stopped |= set(gone.scalars())

    async def bury(self) -> None:
        """The reaper runs: silent leases are lost, and jobs without a lease ask again."""
        async with self.db.session() as session:
            lost = await self.ledger.expire(session)
            self._lost |= {lease.id for lease in lost}
            for lease in lost:
                if lease.job_id is not None and lease.holder is not None:
                    await self._again(session, lease.job_id)
        async with self.db.session() as session:
            await self.ledger.bury(session, _GRACE)

    async def check(self) -> None:
        """See that nothing is over-committed, lost, or done twice."""
        rows = await self.rows()
        async with self.db.session() as session:
            ready = set((await session.execute(text("SELECT job FROM ready"))).scalars())
        for card in rows.cards:
            held = sum(v.vram for v in rows.leases if v.card == card.id)
            if held > card.capacity:
                raise Violation(f"{card.id} is over-committed: {held / GIB} GB")
            if held != card.reserved:
                raise Violation(f"{card.id} counts {card.reserved}, holds {held}")
        self._check_real(rows)
        active = {v.job_id for v in rows.leases if v.state in {"active", "releasing"}}
        for job in ready - active - set(self.ended):
            if not await self._had_place(job):
                raise Violation(f"{job} is before the workers without a lease")
        for job, times in self.ended.items():
            if times > 1:
                raise Violation(f"{job} was finished {times} times")
        known = {w.job_id for w in rows.waiting} | active | ready | set(self.ended)
        known |= {v.job_id for v in rows.leases} | {w.job for w in self.works}
        if lost := set(self.jobs) - known:
            raise Violation(f"lost: {sorted(lost)}")

    def _check_real(self, rows: Rows) -> None:
        """See that no memory is given away whose work still runs: until it reports, or is stopped."""
        counted = {v.id for v in rows.leases} | self._stopped
        for work in self.works:
            if work.lease.id not in counted:
                raise Violation(f"{work.job} still runs, and its memory was given away")

    async def _had_place(self, job: str) -> bool:
        """Say whether a place was made for a job at all; one that expired is asked for again."""
        count = text("SELECT count(*) FROM gpu_leases WHERE job_id = :job")
        async with self.db.session() as session:
            return bool((await session.execute(count, {"job": job})).scalar_one())


async def run(db: Database, seed: int, steps: int, bug: str | None = None) -> World:
    """Run the machine from a seed; raises Violation when an invariant breaks."""
    ledger = PLANTED[bug]() if bug else Ledger()
    outside = bug == "effect outside the transaction"
    world = World(db, ledger, random.Random(seed), outside)
    await world.set_up()
    for _ in range(steps):
        try:
            await world.step()
        except IntegrityError as error:
            raise Violation("the database's own checks refused it") from error
    return world
