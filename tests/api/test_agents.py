"""Autonomous agents over REST: made, run by the server itself, listed, read, and kept apart."""

import asyncio

from nebula.app import App
from nebula.auth.principal import Role
from tests.api.conftest import Door


async def test_the_server_runs_an_agent_that_was_made_over_rest(app: App, program: Door) -> None:
    http = await program(Role.DEVELOPER)
    about = {"name": "house", "purpose": "list running jobs", "tools": ["jobs_list"]}
    made = await http.post("/api/agents", json=about)
    assert made.status_code == 200, made.text
    agent = made.json()["agent"]
    assert agent["rights"] == ["jobs:read"]
    asked = await http.post("/api/agents/house/run", json={})
    assert asked.json()["run"]["state"] == "queued"
    async with asyncio.timeout(30):
        async for event in app.parts.events.follow(f"agent:{agent['id']}"):
            if event.data["state"] not in {"queued", "running"}:
                break
    [run] = (await http.get("/api/agents/runs", params={"agent": "house"})).json()["runs"]
    assert (run["state"], run["report"]) == ("done", "There are no such jobs.")
    said = await http.get(f"/api/sessions/{run['session_id']}/messages")
    assert [each["role"] for each in said.json()] == ["user", "assistant"]
    other = await program(Role.VIEWER)
    assert (await other.get("/api/agents")).json()["agents"] == []
    assert (await other.post("/api/agents/house/run", json={})).status_code == 403
