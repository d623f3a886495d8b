"""Who gives the answer: those who may not, and those who may once were allowed to."""

from benchmarks.approvals.vectors import vector
from benchmarks.approvals.world import TAINTED, World
from nebula.auth.principal import Surface

_OLD = "clock_timestamp() - interval '1 hour'"


async def _by(world: World, surface: Surface) -> None:
    call_id, approval_id = await world.ask()
    await world.answer(approval_id, surface=surface)
    await world.run(call_id, {"name": "x"})


@vector("approved by an MCP client")
async def _(world: World) -> None:
    await _by(world, Surface.MCP)


@vector("approved by a schedule")
async def _(world: World) -> None:
    await _by(world, Surface.SCHEDULE)


@vector("approved by the system itself")
async def _(world: World) -> None:
    await _by(world, Surface.SYSTEM)


@vector("approved with an API key, over REST")
async def _(world: World) -> None:
    call_id, approval_id = await world.ask()
    async with world.program("ada") as http:
        await http.post(f"/api/approvals/{approval_id}/decide", json={"decision": "approve"})
    await world.run(call_id, {"name": "x"})


@vector("approved with an API key, at the core")
async def _(world: World) -> None:
    call_id, approval_id = await world.ask()
    keyed = await world.app.parts.auth.principal_for_key(world.keys["ada"])
    await world.answer(approval_id, by=keyed)
    await world.run(call_id, {"name": "x"})


@vector("approved from another site's page")
async def _(world: World) -> None:
    call_id, approval_id = await world.ask()
    async with world.browser("ada", origin="http://evil.test") as http:
        await http.post(f"/api/approvals/{approval_id}/decide", json={"decision": "approve"})
        await http.post(f"/api/approvals/{approval_id}/page", data={"decision": "approve"})
    await world.run(call_id, {"name": "x"})


@vector("approved by somebody without the right")
async def _(world: World) -> None:
    call_id, approval_id = await world.ask()
    await world.answer(approval_id, by=world.vic)
    async with world.browser("vic") as http:
        await http.post(f"/api/approvals/{approval_id}/decide", json={"decision": "approve"})
    await world.run(call_id, {"name": "x"})


@vector("approved by somebody who was locked out a moment before")
async def _(world: World) -> None:
    call_id, approval_id = await world.ask()
    async with world.bob_locked_out():
        await world.answer(approval_id, by=world.bob)
        await world.run(call_id, {"name": "x"})


@vector("approved by somebody who was locked out before the run")
async def _(world: World) -> None:
    call_id, approval_id = await world.ask()
    assert await world.answer(approval_id, by=world.bob, surface=Surface.TERMINAL) == "approved"
    async with world.bob_locked_out():
        await world.run(call_id, {"name": "x"})


@vector("asked by somebody who was locked out before the run")
async def _(world: World) -> None:
    call_id, approval_id = await world.ask(caller=world.caller(world.bob))
    await world.answer(approval_id)
    async with world.bob_locked_out():
        await world.run(call_id, {"name": "x"}, caller=world.caller(world.bob))


@vector("what outside text asked for, approved by whom it asked in the name of")
async def _(world: World) -> None:
    caller = world.caller(labels=TAINTED)
    call_id, approval_id = await world.ask(caller=caller)
    await world.answer(approval_id)
    await world.answer(approval_id, surface=Surface.TERMINAL)
    await world.run(call_id, {"name": "x"}, caller=caller)


@vector("what outside text asked for, approved by somebody else", "burn x x1")
async def _(world: World) -> None:
    caller = world.caller(labels=TAINTED)
    call_id, approval_id = await world.ask(caller=caller)
    await world.answer(approval_id, by=world.bob)
    await world.run(call_id, {"name": "x"}, caller=caller)


@vector("what outside text asked for, approved where no full card is shown")
async def _(world: World) -> None:
    caller = world.caller(labels=TAINTED)
    call_id, approval_id = await world.ask(caller=caller)
    await world.answer(approval_id, by=world.bob, surface=Surface.DISCORD)
    await world.run(call_id, {"name": "x"}, caller=caller)


@vector("what weighs most, approved on a sign-in of an hour ago")
async def _(world: World) -> None:
    call_id, approval_id = await world.ask(tool="vault_wipe")
    await world.sql(f"UPDATE auth_sessions SET proven_at = {_OLD}")
    await world.answer(approval_id)
    async with world.browser("ada") as http:
        await http.post(f"/api/approvals/{approval_id}/decide", json={"decision": "approve"})
    await world.run(call_id, {"name": "x"}, tool="vault_wipe")
    await world.sql("UPDATE auth_sessions SET proven_at = clock_timestamp()")


@vector("what weighs most, approved in a chat room")
async def _(world: World) -> None:
    call_id, approval_id = await world.ask(tool="vault_wipe")
    await world.answer(approval_id, surface=Surface.DISCORD)
    await world.run(call_id, {"name": "x"}, tool="vault_wipe")


@vector("what weighs most, approved on a fresh sign-in", "wipe x")
async def _(world: World) -> None:
    call_id, approval_id = await world.ask(tool="vault_wipe")
    assert await world.answer(approval_id) == "approved"
    await world.run(call_id, {"name": "x"}, tool="vault_wipe")
