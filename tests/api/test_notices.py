"""What stands still until its owner does something is told wherever they look."""

import json
from typing import Any

import httpx
from sqlalchemy import text

from api.notices import notices_of
from nebula.app import App
from nebula.auth.principal import Role
from tests.api.conftest import Door

AGENT = {"name": "watch", "purpose": "Look after the services of this house."}
FLOW = {"name": "nightly", "steps": [{"id": "look", "tool": "services_list"}]}
INBOX = "/api/approvals/inbox"


async def off(app: App, table: str) -> None:
    """Switch everything off as its failures do."""
    why = "It failed 5 times in a row, last: <b>away</b>"
    said = f"UPDATE {table} SET enabled = false, failures = 5, stopped_because = '{why}'"
    async with app.parts.db.session() as session:
        await session.execute(text(said))


async def asked(http: httpx.AsyncClient, tool: str, **arguments: Any) -> httpx.Response:
    return await http.post(f"/api/tools/{tool}", json=arguments)


async def test_what_was_switched_off_by_failures_is_in_its_owners_inbox_until_it_is_on_again(
    app: App, browser: Door
) -> None:
    ann, bob = await browser(Role.ADMIN), await browser(Role.DEVELOPER)
    assert (await asked(ann, "agents_create", **AGENT, features=["services"])).status_code == 200
    assert (await asked(ann, "workflows_create", spec=FLOW)).status_code == 200
    before = (await ann.get(INBOX)).text
    await off(app, "agents")
    await off(app, "workflows")
    inbox, others = (await ann.get(INBOX)).text, (await bob.get(INBOX)).text
    assert "stands still" not in before
    assert "2 waiting for you" in inbox
    assert "watch stands still" in inbox and "Say: resume agent watch" in inbox
    assert "nightly stands still" in inbox and "Say: resume workflow nightly" in inbox
    assert "last: &lt;b&gt;away" in inbox
    assert "stands still" not in others
    [agent] = (await asked(ann, "agents_list")).json()["agents"]
    [flow] = (await asked(ann, "workflows_list")).json()["workflows"]
    for notice in (agent["notice"], flow["notice"]):
        assert notice["said"].startswith("It failed 5 times")
        assert (await asked(ann, notice["tool"], **notice["arguments"])).status_code == 200
    assert "stands still" not in (await ann.get(INBOX)).text


async def test_what_a_person_paused_is_no_news(app: App, browser: Door) -> None:
    ann = await browser(Role.ADMIN)
    await asked(ann, "agents_create", **AGENT, features=["services"])
    await asked(ann, "workflows_create", spec=FLOW)
    async with app.parts.db.session() as session:
        await session.execute(text("UPDATE agents SET failures = 1"))
        await session.execute(text("UPDATE workflows SET failures = 1"))
    await asked(ann, "agents_update", agent="watch", action="pause")
    await asked(ann, "workflows_update", workflow="nightly", action="pause")
    assert "stands still" not in (await ann.get(INBOX)).text


async def test_only_who_may_see_agents_and_workflows_is_told(app: App, browser: Door) -> None:
    ann = await browser(Role.ADMIN)
    await asked(ann, "agents_create", **AGENT, features=["services"])
    await off(app, "agents")
    owner = (await asked(ann, "agents_list")).json()["agents"][0]["owner_id"]
    who = await app.parts.auth.principal_for_user(owner)
    from nebula.auth.grant import Grant

    blind = who.narrowed(Grant(frozenset({"jobs:read"})))
    assert [each.name for each in await notices_of(app.parts.db, who)] == ["watch"]
    assert await notices_of(app.parts.db, blind) == []


async def test_a_run_without_a_model_is_refused_with_a_code_and_what_to_do(
    app: App, browser: Door
) -> None:
    ann = await browser(Role.ADMIN)
    await asked(ann, "agents_create", **AGENT, features=["services"])
    for dry_run in (False, True):
        answer = await ann.post("/api/agents/watch/run", json={"dry_run": dry_run})
        told = json.loads(answer.text)
        assert (answer.status_code, told["code"]) == (503, "no_model")
        assert "check setup" in told["hint"] and "workflow" in told["hint"]
    assert (await asked(ann, "agents_list_runs")).json()["runs"] == []
