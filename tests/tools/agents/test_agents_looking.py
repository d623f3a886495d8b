"""Agents as people look at them: their times, what they have used, and the form."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from nebula.app import App
from nebula.auth.principal import Caller, Principal
from nebula.errors import Conflict, InvalidInput, NotFound
from nebula.tool.render import to_markdown
from nebula.tool.result import Live
from tools.agents.models import AgentRunRow

Use = Callable[..., Any]
WATCH = {"name": "watch", "purpose": "Look after the services of this house."}


@pytest.fixture
def use(app: App, admin: Principal, caller: Callable[[Principal], Caller]) -> Use:
    calls = iter(range(1_000))

    async def made(tool: str, /, **arguments: Any) -> Any:
        return await app.executor.execute(
            tool, arguments, caller=caller(admin), call_id=f"look-{next(calls)}"
        )

    return made


async def test_an_agent_tells_its_next_times_its_last_run_and_what_it_has_used(
    app: App, use: Use
) -> None:
    timing = {"cron": "0 7 * * 1-5", "timezone": "Europe/Berlin"}
    made = (await use("agents_create", **WATCH, features=["services"], **timing)).agent
    assert (made.cron, made.timezone, len(made.next_runs)) == ("0 7 * * 1-5", "Europe/Berlin", 3)
    assert made.next_runs[0] == made.next_run_at
    assert made.last_run is None
    await use("agents_update", agent="watch", purpose="list services")  # it needs no model
    run = (await use("agents_run", agent="watch", dry_run=True)).run
    async with app.parts.db.session() as session:
        await session.execute(update(AgentRunRow).values(state="done", tokens=700))
    shown = (await use("agents_show", agent="watch")).agent
    assert (shown.last_run.id, shown.last_run.state, shown.last_run.dry_run) == (
        run.id,
        "done",
        True,
    )
    assert (shown.used.runs, shown.used.tokens) == (1, 700)
    paused = (await use("agents_update", agent="watch", action="pause")).agent
    assert paused.next_runs == []


async def test_the_page_gets_a_part_by_its_id_and_other_doors_the_same_in_words(use: Use) -> None:
    made = await use("agents_create", **WATCH, features=["services"])
    for tool, arguments, view, of in [
        ("agents_list", {}, "agents", ""),
        ("agents_show", {"agent": "watch"}, "agent", made.agent.id),
        ("agents_compose", {}, "agent-form", ""),
        ("agents_compose", {"agent": "watch"}, "agent-form", made.agent.id),
    ]:
        blocks = (await use(tool, **arguments)).render()
        assert isinstance(blocks[0], Live)
        assert (blocks[0].view, blocks[0].of) == (view, of)
        assert to_markdown(blocks) == to_markdown(blocks[0].blocks) != ""
    with pytest.raises(NotFound, match="no agent 'wtch'"):
        await use("agents_compose", agent="wtch")


async def test_a_mistake_names_its_field_so_that_a_form_can_show_it_there(use: Use) -> None:
    for wrong, field in [
        ({"features": []}, "features"),
        ({"tools": ["gpu_statu"]}, "tools"),
        ({"cron": "99 * * * *"}, "cron"),
        ({"cron": "0 7 * * *", "timezone": "Berlin"}, "timezone"),
        ({"on_event": "job.done"}, "trigger"),
        ({"report_to": "ops"}, "report_to"),
        ({"limits": {"steps": 0}}, "limits.steps"),
        ({"name": "1st"}, "name"),
    ]:
        with pytest.raises(InvalidInput) as refused:
            await use("agents_create", **{**WATCH, "features": ["gpu"], **wrong})
        assert [each["field"] for each in refused.value.fields] == [field]
    await use("agents_create", **WATCH, features=["gpu"])
    with pytest.raises(Conflict, match="an agent 'watch' already"):
        await use("agents_create", **WATCH, features=["gpu"])
