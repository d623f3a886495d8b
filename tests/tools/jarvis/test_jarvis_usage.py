"""jarvis_usage: what was used and what it cost, of oneself or of everybody."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import text

from nebula.app import App
from nebula.auth.principal import Caller, Principal, Surface
from nebula.db.engine import Database
from nebula.llm.usage import CallRecord
from nebula.tool.render import to_markdown

NOW = datetime.now(UTC)


async def use(app: App, who: Principal, call_id: str, **arguments: Any) -> Any:
    caller = Caller(who, Surface.TERMINAL)
    return await app.executor.execute("jarvis_usage", arguments, caller=caller, call_id=call_id)


def said(who: Principal, tokens: int, days: float, outcome: str = "ok") -> CallRecord:
    return CallRecord(
        at=NOW - timedelta(days=days),
        provider="openai",
        model="gpt",
        tier="large",
        outcome=outcome,
        principal_id=who.id,
        input_tokens=tokens,
        output_tokens=1,
        seconds=2.0,
    )


async def kept(database: Database, who: Principal) -> None:
    """Write calls of tools, a lease and a run of an agent."""
    values = {"who": who.id, "name": who.name}
    async with database.session() as db:
        for number, (tool, cost, days) in enumerate(
            [("images_buy", 1.5, 1), ("images_buy", 2, 2), ("notify_send", None, 1), ("old", 9, 8)]
        ):
            await db.execute(
                text(
                    "INSERT INTO tool_calls (principal_id, call_id, tool, arguments_sha256, state,"
                    " cost, started_at, deadline) VALUES (:who, :id, :tool, '', 'succeeded', :cost,"
                    " now() - make_interval(days => :days), now())"
                ),
                {"who": who.id, "id": f"u{number}", "tool": tool, "cost": cost, "days": days},
            )
        await db.execute(
            text("INSERT INTO gpu_cards (id, node, gpu, capacity) VALUES ('c', 'here', 0, 8)")
        )
        for number, (begun, ended) in enumerate([(5, 3.5), (24 * 7 + 2, 24 * 7 - 1)]):
            await db.execute(
                text(
                    "INSERT INTO gpu_leases (id, token, card, service, vram, klass, owner_id,"
                    " owner_name, state, started_at, ended_at, expires_at) VALUES (:id, :token,"
                    " 'c', 'comfyui', 1, 'batch', :who, :name, 'ended',"
                    " now() - make_interval(secs => :begun), now() - make_interval(secs => :ended),"
                    " now())"
                ),
                {**values, "id": f"l{number}", "token": number,
                 "begun": begun * 3600, "ended": ended * 3600},
            )  # fmt: skip


async def test_what_was_used_is_summed_by_day_model_tool_and_card(
    app: App, database: Database, admin: Principal, developer: Principal
) -> None:
    await kept(database, developer)
    for call in (
        said(developer, 100, 0),
        said(developer, 50, 1, "failed"),
        said(admin, 1_000, 1),
        said(developer, 7, 8),
    ):
        app.parts.router.usage.record(call)
    whole = await use(app, admin, "whole")
    assert (whole.tokens, whole.cost) == (1_153, Decimal("3.5"))
    assert [(m.model, m.calls, m.failures) for m in whole.by_model] == [("gpt", 3, 1)]
    assert [day.calls for day in whole.by_day] == [2, 1]
    assert [(t.tool, t.calls, t.cost) for t in whole.by_tool] == [
        ("images_buy", 2, Decimal("3.5")),
        ("notify_send", 1, Decimal(0)),
    ]
    [gpu] = whole.by_gpu
    assert (gpu.what, gpu.leases, round(gpu.hours, 1)) == ("comfyui", 2, 2.5), "of one, the rest"
    own = await use(app, developer, "own")
    assert (own.tokens, own.by_model[0].calls) == (152, 2), "nobody sees what others used"
    longer = await use(app, admin, "longer", days=30)
    assert (longer.tokens, longer.cost) == (1_161, Decimal("12.5"))
    shown = to_markdown(whole.render())
    assert "1,153 tokens" in shown and "3.50" in shown


async def test_where_nothing_was_used_it_says_so(app: App, viewer: Principal) -> None:
    nothing = await use(app, viewer, "nothing")
    assert (nothing.tokens, nothing.cost, nothing.by_day) == (0, 0, [])
    assert nothing.summary.startswith("In the last 7 days: 0 calls of models with 0 tokens")
