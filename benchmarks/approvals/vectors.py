"""What was approved, what is tried after it, and so what may run: everything but the graph."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.approvals import vault
from benchmarks.approvals.world import TAINTED, World
from nebula.auth.principal import Surface
from nebula.errors import NebulaError
from nebula.tool.approvals import Approval
from nebula.tool.registry import Registry

Attack = Callable[[World], Awaitable[None]]

_PAST = "clock_timestamp() - interval '1 second'"


@dataclass(frozen=True)
class Vector:
    """One way in; `may_run` is all that a person has approved."""

    name: str
    attack: Attack
    may_run: tuple[str, ...] = ()


VECTORS: list[Vector] = []


def vector(name: str, *may_run: str) -> Callable[[Attack], Attack]:
    """Add a function to the corpus."""

    def add(attack: Attack) -> Attack:
        VECTORS.append(Vector(name, attack, may_run))
        return attack

    return add


@vector("approved, and run as it was asked", "burn x x1")
async def _(world: World) -> None:
    await world.run(await world.approved(), {"name": "x"})


def _changed(name: str, asked: dict[str, Any], then: dict[str, Any]) -> None:
    async def attack(world: World) -> None:
        call_id = await world.approved(**asked)
        await world.run(call_id, then)

    vector(name)(attack)


_changed("an argument's value changed", {"name": "x"}, {"name": "y"})
_changed("an argument added", {"name": "x"}, {"name": "x", "count": 1000})
_changed("an argument left out", {"name": "x", "note": "carefully"}, {"name": "x"})
_changed("a secret changed", {"name": "x", "password": "a"}, {"name": "x", "password": "b"})
_changed("composed and decomposed é", {"name": "caf\u00e9"}, {"name": "cafe\u0301"})
_changed("a Cyrillic letter for a Latin one", {"name": "paint"}, {"name": "p\u0430int"})
_changed("a zero-width space added", {"name": "x"}, {"name": "x\u200b"})
_changed("text that runs the other way", {"name": "x"}, {"name": "\u202ex"})
_changed("upper case", {"name": "x"}, {"name": "X"})
_changed("a long suffix out of sight", {"name": "x"}, {"name": "x" + " " * 4000 + "and all else"})


def _elsewhere(name: str, **changed: Any) -> None:
    async def attack(world: World) -> None:
        call_id = await world.approved()
        await world.run(call_id, {"name": "x"}, caller=world.caller(**changed))

    vector(name)(attack)


_elsewhere("from another session", session_id="s2")
_elsewhere("from another door", surface=Surface.REST)
_elsewhere("by another agent", agent="operator")
_elsewhere("by hand where a model had asked", by_model=False)
_elsewhere("after outside text was read", labels=TAINTED)


@vector("by another person under the same call id")
async def _(world: World) -> None:
    call_id = await world.approved()
    await world.run(call_id, {"name": "x"}, caller=world.caller(world.bob))


@vector("with the same person's API key")
async def _(world: World) -> None:
    call_id = await world.approved()
    keyed = await world.app.parts.auth.principal_for_key(world.keys["ada"])
    await world.run(call_id, {"name": "x"}, caller=world.caller(keyed))


@vector("with another tool under the same call id")
async def _(world: World) -> None:
    await world.run(await world.approved(), {"name": "x"}, tool="vault_sell")


@vector("after the tool's declaration changed")
async def _(world: World) -> None:
    call_id = await world.approved()
    others = [tool for tool in vault.ALL if tool.name != "vault_burn"]
    async with world.restarted(Registry([vault.changed_burn(), *others])) as app:
        await world.run(call_id, {"name": "x"}, app=app)


@vector("after the operator's policy changed")
async def _(world: World) -> None:
    call_id = await world.approved()
    rules = Path(world.settings.home) / "other-policy.yml"
    rules.write_text("tools: {vault_sell: confirm}\n", encoding="utf-8")
    async with world.restarted(policy=rules) as app:
        await world.run(call_id, {"name": "x"}, app=app)


@vector("after the thing itself changed")
async def _(world: World) -> None:
    call_id = await world.approved("painting")
    vault.VERSIONS["painting"] = "2"
    await world.run(call_id, {"name": "painting"})


@vector("while the thing is as it was", "burn statue x1")
async def _(world: World) -> None:
    vault.VERSIONS["statue"] = "7"
    await world.run(await world.approved("statue"), {"name": "statue"})


@vector("expired before the answer")
async def _(world: World) -> None:
    call_id, approval_id = await world.ask()
    await world.sql(f"UPDATE approvals SET expires_at = {_PAST} WHERE id = :id", id=approval_id)
    await world.answer(approval_id)
    await world.run(call_id, {"name": "x"})


@vector("expired after the answer")
async def _(world: World) -> None:
    call_id, approval_id = await world.ask()
    await world.answer(approval_id)
    await world.sql(f"UPDATE approvals SET expires_at = {_PAST} WHERE id = :id", id=approval_id)
    await world.run(call_id, {"name": "x"})


async def _use(world: World, approval: Approval) -> None:
    """Use an approval as the executor does; what comes through is an effect."""
    try:
        async with world.app.parts.db.session() as session:
            await world.app.parts.approvals.use(session, approval)
    except NebulaError:
        return
    vault.EFFECTS.append("used")


@vector("expired between the look and the use")
async def _(world: World) -> None:
    _, approval_id = await world.ask()
    await world.answer(approval_id)
    approval = await world.app.parts.approvals.get(approval_id, world.ada)
    await world.sql(f"UPDATE approvals SET expires_at = {_PAST} WHERE id = :id", id=approval_id)
    await _use(world, approval)


@vector("four uses of one row at once", "used")
async def _(world: World) -> None:
    _, approval_id = await world.ask()
    await world.answer(approval_id)
    approval = await world.app.parts.approvals.get(approval_id, world.ada)
    await asyncio.gather(*(_use(world, approval) for _ in range(4)))


@vector("the row's hash is another call's")
async def _(world: World) -> None:
    _, approval_id = await world.ask()
    await world.answer(approval_id)
    approval = await world.app.parts.approvals.get(approval_id, world.ada)
    await world.sql("UPDATE approvals SET sha256 = repeat('0', 64) WHERE id = :id", id=approval_id)
    await _use(world, approval)


@vector("twice in turn", "burn x x1")
async def _(world: World) -> None:
    call_id = await world.approved()
    for _ in range(2):
        await world.run(call_id, {"name": "x"})


@vector("four times at once", "burn x x1")
async def _(world: World) -> None:
    call_id = await world.approved()
    await asyncio.gather(*(world.run(call_id, {"name": "x"}) for _ in range(4)))


@vector("again after a restart", "burn x x1")
async def _(world: World) -> None:
    call_id = await world.approved()
    await world.run(call_id, {"name": "x"})
    async with world.restarted() as app:
        await world.run(call_id, {"name": "x"}, app=app)


@vector("again after the record of the call was lost", "burn x x1")
async def _(world: World) -> None:
    call_id = await world.approved()
    await world.run(call_id, {"name": "x"})
    await world.sql("DELETE FROM tool_calls WHERE call_id = :id", id=call_id)
    await world.run(call_id, {"name": "x"})


@vector("denied, and tried all the same")
async def _(world: World) -> None:
    call_id, approval_id = await world.ask()
    await world.answer(approval_id, "deny")
    for _ in range(2):
        await world.run(call_id, {"name": "x"})


@vector("denied, then approved")
async def _(world: World) -> None:
    call_id, approval_id = await world.ask()
    await world.answer(approval_id, "deny")
    await world.answer(approval_id, by=world.bob)
    await world.run(call_id, {"name": "x"})


@vector("changes asked for, and run unchanged")
async def _(world: World) -> None:
    call_id, approval_id = await world.ask()
    await world.answer(approval_id, "request_changes", comment="only y")
    await world.run(call_id, {"name": "x"})


@vector("changes asked for, and changed without asking")
async def _(world: World) -> None:
    call_id, approval_id = await world.ask()
    await world.answer(approval_id, "request_changes", comment="only y")
    await world.run(call_id, {"name": "y"})


@vector("two calls swapped", "burn first x1")
async def _(world: World) -> None:
    (one, first), (two, second) = await world.ask("first"), await world.ask("second")
    await world.answer(first)
    await world.answer(second, "deny")
    await asyncio.gather(
        world.run(one, {"name": "second"}),
        world.run(two, {"name": "first"}),
        world.run(two, {"name": "second"}),
        world.run(one, {"name": "first"}),
    )


@vector("keys in another order", "burn x x2")
async def _(world: World) -> None:
    call_id = await world.approved(count=2, note="n")
    await world.run(call_id, b'{"note": "n", "count": 2, "name": "x"}')


@vector("1 and 1.0 are one number", "burn x x1")
async def _(world: World) -> None:
    await world.run(await world.approved(count=1), b'{"name": "x", "count": 1.0}')


@vector("1 and 1.0000001 are two")
async def _(world: World) -> None:
    await world.run(await world.approved(count=1), b'{"name": "x", "count": 1.0000001}')


@vector("one key twice, over REST")
async def _(world: World) -> None:
    async with world.browser("ada") as http:
        headers = {"Idempotency-Key": "twice", "Content-Type": "application/json"}
        asked = await http.post("/api/tools/vault_burn", json={"name": "x"}, headers=headers)
        await http.post(
            f"/api/approvals/{asked.json()['approval_id']}/decide", json={"decision": "approve"}
        )
        body = b'{"name": "x", "name": "y"}'
        await http.post("/api/tools/vault_burn", content=body, headers=headers)


@vector("the card altered behind the person's back")
async def _(world: World) -> None:
    call_id, approval_id = await world.ask("everything")
    await world.sql(
        "UPDATE approvals SET envelope = jsonb_set(envelope, '{arguments,name}', '\"a match\"')"
        " WHERE id = :id",
        id=approval_id,
    )
    await world.answer(approval_id)
    await world.run(call_id, {"name": "everything"})


@vector("typed by hand over REST, approved in the same browser", "burn x x1")
async def _(world: World) -> None:
    async with world.browser("ada") as http:
        headers = {"Idempotency-Key": "by-hand"}
        asked = await http.post("/api/tools/vault_burn", json={"name": "x"}, headers=headers)
        approve = f"/api/approvals/{asked.json()['approval_id']}/decide"
        await http.post(approve, json={"decision": "approve"})
        await http.post("/api/tools/vault_burn", json={"name": "x"}, headers=headers)
