"""Background tools over REST and MCP: a handle at once, a numbered stream to follow, an end."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from nebula.app import App
from nebula.auth.principal import Role
from nebula.jobs.job import JobState
from nebula.jobs.worker import open_worker
from tests.api.conftest import Door
from tests.api.test_events import frames
from tests.api.test_mcp import client_of

Key = Callable[[Role], Awaitable[str]]


@pytest.fixture
async def http(live: str, key: Key) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {await key(Role.VIEWER)}"}
    async with httpx.AsyncClient(base_url=live, headers=headers, timeout=20) as http:
        yield http


async def baking(http: httpx.AsyncClient, name: str = "bread") -> str:
    answer = await http.post("/api/tools/sample_bake", json={"name": name})
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["job_id"]
    assert answer.headers["location"] == f"/api/jobs/{job_id}"
    return job_id


@asynccontextmanager
async def following(
    http: httpx.AsyncClient, job_id: str, last: str = "", after: str = ""
) -> AsyncIterator[AsyncIterator[dict[str, str]]]:
    headers = {"Last-Event-ID": last} if last else {}
    path = f"/api/jobs/{job_id}/events" + (f"?after={after}" if after else "")
    async with http.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        yield frames(answer)


def data_of(fields: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(fields["data"])
    return found


async def test_a_background_tool_answers_202_and_its_stream_ends_with_the_whole_job(
    http: httpx.AsyncClient, app: App
) -> None:
    job_id = await baking(http)
    async with following(http, job_id) as events, open_worker(app, 1):
        seen = [fields async for fields in events]
    assert [fields["event"] for fields in (seen[0], seen[-1])] == ["job", "job"]
    assert data_of(seen[0])["job"]["state"] == "queued"
    whole = data_of(seen[-1])
    assert whole["job"]["state"] == "succeeded"
    assert whole["job"]["result"]["number"] == 4
    assert any("bread" in block.get("text", "") for block in whole["blocks"])
    assert [line["text"] for line in whole["log"]] == [f"layer {n} of bread" for n in range(1, 5)]
    kinds = {fields["event"] for fields in seen}
    assert {"job.state", "job.progress", "job.log"} <= kinds
    assert (await http.get(f"/api/jobs/{job_id}")).json()["state"] == "succeeded"


async def test_after_a_cut_the_stream_goes_on_behind_the_last_number(
    http: httpx.AsyncClient, app: App
) -> None:
    job_id = await baking(http)
    async with open_worker(app, 1), following(http, job_id, after="0") as events:
        whole = [fields async for fields in events]
    numbers = [int(fields["id"]) for fields in whole]
    assert numbers[:-1] == list(range(1, len(numbers)))
    for cut in range(1, len(whole) - 1):
        async with following(http, job_id, last=str(cut)) as events:
            rest = [fields async for fields in events]
        assert [int(fields["id"]) for fields in rest] == numbers[cut:]


async def test_the_stream_of_a_job_that_ended_long_ago_ends_at_once(
    http: httpx.AsyncClient, app: App
) -> None:
    job_id = await baking(http, "burn")
    async with open_worker(app, 1), following(http, job_id) as events:
        seen = [fields async for fields in events]
    assert data_of(seen[-1])["job"]["error"]["detail"] == "It burnt."
    for last, after in (("", ""), (seen[-1]["id"], ""), ("", "9999")):
        async with following(http, job_id, last, after) as events:
            again = [fields["event"] async for fields in events]
        assert again == ["job"]


async def test_a_running_job_is_cancelled_over_rest_and_its_stream_says_so(
    http: httpx.AsyncClient, live: str, key: Key, app: App
) -> None:
    headers = {"Authorization": f"Bearer {await key(Role.DEVELOPER)}"}
    async with httpx.AsyncClient(base_url=live, headers=headers, timeout=20) as writer:
        job_id = await baking(writer, "hang")
        async with open_worker(app, 1), following(writer, job_id) as events:
            async for fields in events:
                if fields["event"] == "job.log":
                    answer = await writer.post(f"/api/jobs/{job_id}/cancel")
                    assert answer.status_code == 200, answer.text
                    break
            last = [fields async for fields in events][-1]
    assert data_of(last)["job"]["state"] == "cancelled"


async def test_a_job_is_followed_only_by_its_owner_and_administrators(
    http: httpx.AsyncClient, program: Door, app: App
) -> None:
    job_id = await baking(http)
    other = await program(Role.DEVELOPER)
    assert (await other.get(f"/api/jobs/{job_id}/events")).status_code == 404
    assert (await other.get("/api/jobs/job_0000/events")).status_code == 404
    bad = await http.get(f"/api/jobs/{job_id}/events", headers={"Last-Event-ID": "x"})
    assert bad.status_code == 400


async def test_revoking_the_reader_ends_the_stream_of_a_job(
    http: httpx.AsyncClient, app: App
) -> None:
    job_id = await baking(http)
    async with following(http, job_id) as events:
        await anext(aiter(events))
        await app.parts.auth.people.update("viewer-program", enabled=False)
        rest = [fields["event"] async for fields in events]
    assert rest[-1] == "error"


async def test_submitting_and_retrying_answer_202_with_the_place_of_the_job(
    program: Door, app: App
) -> None:
    dev = await program(Role.DEVELOPER)
    answer = await dev.post("/api/jobs", json={"tool": "sample_bake", "arguments": {"name": "x"}})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/api/jobs/{answer.json()['job_id']}"


async def test_over_mcp_a_background_tool_says_how_to_follow_it(
    live: str, key: Key, app: App
) -> None:
    async with client_of(live, await key(Role.VIEWER)) as client:
        answer = await client.call_tool("sample_bake", {"name": "x"})
        assert answer.structured_content is not None
        job_id = answer.structured_content["job_id"]
        assert "jobs_get" in answer.content[0].text and job_id in answer.content[0].text
        async with open_worker(app, 1):
            async with asyncio.timeout(20):
                while True:
                    found = await client.call_tool("jobs_get", {"job_id": job_id})
                    assert found.structured_content is not None
                    if found.structured_content["state"] == JobState.SUCCEEDED:
                        break
    assert found.structured_content["result"]["number"] == 4


async def test_the_openapi_document_tells_of_handles_and_the_stream(program: Door) -> None:
    paths = (await (await program(Role.ADMIN)).get("/api/openapi.json")).json()["paths"]
    answers = paths["/api/tools/sample_bake"]["post"]["responses"]
    assert "200" not in answers and "Location" in answers["202"]["headers"]
    assert answers["202"]["content"]["application/json"]["schema"]["$ref"].endswith("JobHandle")
    stream = paths["/api/jobs/{job_id}/events"]["get"]["responses"]["200"]
    assert "text/event-stream" in stream["content"]
