"""The door of machines: what it takes, what it refuses, and what it hands out."""

import io
import zipfile

import httpx

from nebula.app import App
from node.protocol import MAX_BODY

JOIN = {"token": "x", "name": "pc", "url": "http://127.0.0.1:8431",
        "hardware": {"hostname": "pc", "os": "Linux"}}  # fmt: skip
BEAT = {"nonce": "n", "metrics": {}}


async def test_a_machine_joins_and_beats_over_http(app: App, nobody: httpx.AsyncClient) -> None:
    token = (await app.parts.nodes.create_token("admin")).token
    joined = await nobody.post("/api/nodes/join", json=JOIN | {"token": token})
    assert joined.status_code == 200, joined.text
    secret = joined.json()["secret"]
    path = "/api/nodes/pc/heartbeat"
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-API-Key": "jk_wrong"}):
        assert (await nobody.post(path, json=BEAT, headers=headers)).status_code == 401
    told = await nobody.post(path, json=BEAT, headers={"Authorization": f"Bearer {secret}"})
    assert told.status_code == 200 and told.json()["leases"] == []
    again = await nobody.post("/api/nodes/join", json=JOIN | {"token": token})
    assert again.status_code == 401 and again.json()["code"] == "not_authenticated"


async def test_odd_bodies_are_refused_with_the_one_error_shape(
    app: App, nobody: httpx.AsyncClient
) -> None:
    token = (await app.parts.nodes.create_token("admin")).token
    joined = await nobody.post("/api/nodes/join", json=JOIN | {"token": token})
    secret = joined.json()["secret"]
    for body, status in (
        (b"{", 422),
        (b"[]", 422),
        (b"{}", 422),
        (b'{"nonce": "a\\u0000b", "metrics": {}}', 422),
        (b'{"nonce": "n", "metrics": {"cpu": 1e999}}', 422),
        (b" " * (MAX_BODY + 1), 413),
    ):
        headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
        for path in ("/api/nodes/join", "/api/nodes/pc/heartbeat"):
            answer = await nobody.post(path, content=body, headers=headers)
            assert answer.status_code == status, (body[:60], answer.text)
            assert answer.json().keys() >= {"code", "detail", "retryable"}


async def test_guessing_is_slowed_down(nobody: httpx.AsyncClient) -> None:
    seen = [(await nobody.post("/api/nodes/join", json=JOIN)).status_code for _ in range(32)]
    assert seen[0] == 401 and seen[-1] == 429


async def test_the_agent_to_install_is_its_program_and_nothing_else(
    nobody: httpx.AsyncClient,
) -> None:
    answer = await nobody.get("/api/nodes/agent.zip")
    names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert {"node/__main__.py", "node/requirements.lock", "node/recipes/ollama.yml"} <= set(names)
    assert all(name.startswith("node/") and "__pycache__" not in name for name in names)
    assert (await nobody.get("/api/nodes/agent.zip")).content == answer.content
