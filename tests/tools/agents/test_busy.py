"""Which agents somebody may want to look at right now."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import update

from nebula.app import App
from nebula.auth.principal import Caller, Principal
from tools.agents.busy import busy_agents
from tools.agents.models import AgentRow, AgentRunRow


async def test_only_agents_that_run_wait_or_were_switched_off_by_failures_are_busy(
    app: App, admin: Principal, viewer: Principal, caller: Callable[[Principal], Caller]
) -> None:
    async def use(tool: str, /, **arguments: Any) -> Any:
        call_id = f"{tool}-{arguments}"[:60]
        return await app.executor.execute(tool, arguments, caller=caller(admin), call_id=call_id)

    for name in ("idle", "runs", "paused", "broken"):
        await use("agents_create", name=name, purpose="list services", features=["services"])
    run = (await use("agents_run", agent="runs", dry_run=True)).run
    await use("agents_run", agent="idle")
    await use("agents_update", agent="paused", action="pause")
    async with app.parts.db.session() as session:
        await session.execute(
            update(AgentRunRow).where(AgentRunRow.id != run.id).values(state="done")
        )
        broken = update(AgentRow).where(AgentRow.name == "broken")
        await session.execute(
            broken.values(enabled=False, failures=5, stopped_because="It failed.")
        )
    found = await busy_agents(app.parts, admin)
    assert [(one.name, one.state, one.dry_run) for one in found] == [
        ("broken", "off", False),
        ("runs", "queued", True),
    ]
    assert found[0].stopped_because == "It failed."
    assert await busy_agents(app.parts, viewer) == []
