"""Lets a person's switch, load or unload go through the ledger like all other work."""

from collections.abc import Awaitable, Callable

from nebula.errors import Conflict
from nebula.gpu.leases.ledger import Owner, card_id, resident_id
from nebula.gpu.leases.need import GpuNeed
from nebula.gpu.leases.rows import LeaseState, ResidentState
from nebula.gpu.leases.service import Leases
from nebula.gpu.plans import SwitchPlan
from nebula.gpu.policy.types import PriorityClass
from nebula.gpu.snapshot import Resident

_PERSON = Owner("", "a person")


class SwitchBooks:
    """The ledger behind one change that a person asked for."""

    def __init__(self, leases: Leases) -> None:
        """Take what hands out leases."""
        self._leases = leases
        self._tools = leases.tools

    async def leaving(self, resident: Resident, node: str, why: str, *, force: bool) -> None:
        """Mark a model as leaving, and keep why; force ends the leases on it, whose work stopped."""
        row = await self._row(resident, node)
        if row is None:
            return
        async with self._tools.db.session() as session:
            if force:
                for lease in await self._users(row):
                    await self._tools.ledger.finish(session, lease, "a forced switch stopped it")
            if await self._tools.ledger.leaving(session, row):
                await self._tools.ledger.decided(session, "evict", row.label, why, card=row.card)
                return
            if row.state == "leaving":
                return
        users = await self._users(row)
        names = ", ".join(dict.fromkeys(v.owner_name for v in users)) or "other work"
        raise Conflict(
            f"{resident.label} is in use by {names}",
            hint="Try again when it is done, or use force to stop its work.",
        )

    async def left(self, resident: Resident, node: str) -> None:
        """Drop a model that is seen gone."""
        row = await self._row(resident, node)
        if row is not None:
            async with self._tools.db.session() as session:
                await self._tools.ledger.left(session, row.id, row.card)

    async def stays(self, resident: Resident, node: str) -> None:
        """Note that a model did not leave."""
        row = await self._row(resident, node)
        if row is not None:
            async with self._tools.db.session() as session:
                await self._tools.ledger.stays(session, row.id)

    async def load(self, plan: SwitchPlan, load: Callable[[], Awaitable[str]]) -> str:
        """Load under a lease of its own, in room that is looked at anew."""
        await self._leases.look()
        card = card_id(plan.node, plan.gpu)
        if card not in await self._leases.records.cards():
            return await load()  # no card stands behind it: it runs on the processor
        need = GpuNeed(
            service=plan.target.service,
            model=plan.target.model,
            klass=PriorityClass.CHAT,
            what="a switch",
        )
        held = await self._placed(need, card, plan.explanation)
        if held is None:
            raise Conflict(
                f"The room for {plan.target} was taken meanwhile",
                hint="gpu_status shows by what; try again.",
            )
        async with self._leases.kept(held, None, load=False, tell=False):
            return await load()

    async def _placed(self, need: GpuNeed, card: str, why: str) -> LeaseState | None:
        pictures, ledger = self._tools.pictures, self._tools.ledger
        async with self._tools.db.session() as session:
            key = await ledger.request(session, need, _PERSON)
            grant = await ledger.place(
                session,
                key,
                card,
                vram=pictures.needed(need) or 0,
                one=pictures.one(need.service),
                parallel=pictures.parallel(need.service),
                seconds=self._tools.settings.lease_seconds,
                holder=self._leases.holder,
            )
            if grant is None:
                await session.rollback()
                return None
            await ledger.decided(session, "start", need.label, why, card=card, request=key)
        return grant.lease

    async def _row(self, resident: Resident, node: str) -> ResidentState | None:
        one = self._tools.pictures.one(resident.service)
        card = card_id(node, resident.gpu)
        key = resident_id(card, resident.service, resident.model, one=one)
        return await self._leases.records.resident(key)

    async def _users(self, row: ResidentState) -> tuple[LeaseState, ...]:
        return (await self._leases.rows()).leases_on(row.id)
