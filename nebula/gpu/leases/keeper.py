"""Renews the leases of this process, and hears when one is lost or asked to yield.

A holder that cannot renew in time takes itself for lost by its own monotonic clock, before the
database gives its memory away.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from nebula.db.engine import Database
from nebula.errors import NebulaError
from nebula.gpu.leases.lease import Lease
from nebula.gpu.leases.ledger import Ledger
from nebula.gpu.leases.signals import Signals, wait

log = structlog.get_logger(__name__)


@dataclass
class Held:
    """A lease of this process, and what to do when it is lost."""

    lease: Lease
    seconds: float
    lost: Callable[[], None] | None = None
    renewed: float = field(default_factory=time.monotonic)


class Keeper:
    """Keeps every lease of this process alive while its holder works."""

    def __init__(self, db: Database, ledger: Ledger, signals: Signals) -> None:
        """Take the database, the ledger and its signals; nothing runs before a lease is held."""
        self._db = db
        self._ledger = ledger
        self._signals = signals
        self._held: dict[str, Held] = {}
        self._work: asyncio.Task[None] | None = None

    def keep(self, lease: Lease, seconds: float, lost: Callable[[], None] | None = None) -> None:
        """Renew a lease from now on; `lost` is called when it is its holder's no longer."""
        self._held[lease.id] = Held(lease, seconds, lost)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._run(), name="gpu-leases")

    def drop(self, lease: Lease) -> None:
        """Renew a lease no longer."""
        self._held.pop(lease.id, None)

    async def close(self) -> None:
        """Stop renewing; what is still held will expire."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
            self._work = None

    async def _run(self) -> None:
        while self._held:
            pause = min(held.seconds for held in self._held.values()) / 3
            with self._signals.expect("yield") as asked:
                await wait(asked, pause)
            try:
                await self._renew()
            except NebulaError as error:
                log.warning("gpu leases not renewed", error=str(error))
            self._fence()

    async def _renew(self) -> None:
        for held in list(self._held.values()):
            begun = time.monotonic()
            async with self._db.session() as session:
                asked = await self._ledger.renew(
                    session, held.lease.id, held.lease.token, held.seconds
                )
            if asked is None:
                self._lose(held)
                continue
            held.renewed = begun
            if asked:
                held.lease.should_yield.set()

    def _fence(self) -> None:
        for held in list(self._held.values()):
            if time.monotonic() - held.renewed > held.seconds:
                self._lose(held)

    def _lose(self, held: Held) -> None:
        if self._held.pop(held.lease.id, None) is None:
            return
        log.warning("gpu lease lost", lease=held.lease.id, card=held.lease.node)
        held.lease.should_yield.set()
        if held.lost is not None:
            held.lost()
