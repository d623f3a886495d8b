"""The MCP door, asked by a real client."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport

from nebula.app import App
from nebula.auth.principal import Role
from tests.api.conftest import Door
from tests.api.samples import DONE

Key = Callable[[Role], Awaitable[str]]
HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


@asynccontextmanager
async def client_of(live: str, key: str) -> AsyncIterator[Client]:
    transport = StreamableHttpTransport(f"{live}/mcp", headers={"Authorization": f"Bearer {key}"})
    async with Client(transport) as client:
        yield client


async def test_a_client_sees_the_tools_of_its_key_with_their_hints(
    live: str, key: Key, server: FastAPI
) -> None:
    async with client_of(live, await key(Role.ADMIN)) as client:
        told = client.initialize_result
        tools = {tool.name: tool for tool in await client.list_tools()}
    assert told and (told.serverInfo.name, told.serverInfo.version) == (
        "Nebula Command",
        server.version,
    )
    assert {"sample_look", "sample_write", "sample_destroy", "users_list"} <= tools.keys()
    assert not tools.keys() & {"sample_person", "users_create", "audit_search"}
    look, destroy = tools["sample_look"].annotations, tools["sample_destroy"].annotations
    assert look and look.readOnlyHint and not look.destructiveHint
    assert destroy and destroy.destructiveHint and not destroy.readOnlyHint
    assert tools["sample_look"].inputSchema["properties"]["name"]["description"] == "Which thing"
    assert tools["sample_look"].outputSchema
    async with client_of(live, await key(Role.VIEWER)) as client:
        seen = {tool.name for tool in await client.list_tools()}
    assert "sample_look" in seen and not seen & {"sample_write", "users_list"}


async def test_a_result_comes_as_text_and_as_data(live: str, key: Key) -> None:
    async with client_of(live, await key(Role.VIEWER)) as client:
        result = await client.call_tool("sample_look", {"name": "x"})
    assert result.structured_content == {"name": "x"}
    assert "x" in result.content[0].text


async def test_an_effect_waits_for_a_person_and_runs_once_when_repeated(
    live: str, key: Key, browser: Door
) -> None:
    admin = await browser(Role.ADMIN)
    async with client_of(live, await key(Role.DEVELOPER)) as client:

        async def call() -> tuple[bool, dict[str, object], str]:
            answer = await client.call_tool("sample_destroy", {"name": "x"}, raise_on_error=False)
            return answer.is_error, answer.structured_content or {}, answer.content[0].text

        failed, told, text = await call()
        waiting = str(told["approval_id"])
        assert failed and told["code"] == "approval_required"
        assert waiting in text and f"/api/approvals/{waiting}/page" in text
        assert (await call())[1]["approval_id"] == waiting
        await admin.post(f"/api/approvals/{waiting}/decide", json={"decision": "approve"})
        assert not DONE
        failed, told, text = await call()
        assert (failed, told, DONE) == (False, {"name": "x"}, ["destroy x"])
        failed, told, text = await call()
        assert told["approval_id"] != waiting, "a second run needs a second approval"
        await admin.post(f"/api/approvals/{told['approval_id']}/decide", json={"decision": "deny"})
        failed, told, text = await call()
        assert (told["code"], DONE) == ("permission_denied", ["destroy x"])


async def test_every_effect_of_a_client_is_put_before_a_person(live: str, key: Key) -> None:
    async with client_of(live, await key(Role.ADMIN)) as client:
        answer = await client.call_tool("sample_write", {"name": "x"}, raise_on_error=False)
    assert answer.is_error and not DONE


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("sample_look", {"nmae": "x"}, "invalid_input"),
        ("sample_look", {"name": 5}, "invalid_input"),
    ],
)
async def test_a_call_that_does_not_fit_tells_what_to_fix(
    live: str, key: Key, name: str, arguments: dict[str, object], code: str
) -> None:
    async with client_of(live, await key(Role.ADMIN)) as client:
        answer = await client.call_tool(name, arguments, raise_on_error=False)
    assert answer.is_error and (answer.structured_content or {})["code"] == code


@pytest.mark.parametrize("name", ["no_such_tool", "sample_write", "sample_person"])
async def test_a_tool_out_of_reach_does_not_exist(live: str, key: Key, name: str) -> None:
    async with client_of(live, await key(Role.VIEWER)) as client:
        answer = await client.call_tool(name, {"name": "x"}, raise_on_error=False)
    assert answer.is_error and name in answer.content[0].text
    assert not DONE


async def test_a_crash_shows_a_client_only_a_reference(live: str, key: Key, browser: Door) -> None:
    admin = await browser(Role.ADMIN)
    async with client_of(live, await key(Role.ADMIN)) as client:
        asked = await client.call_tool("sample_break", {"name": "bug"}, raise_on_error=False)
        waiting = (asked.structured_content or {})["approval_id"]
        await admin.post(f"/api/approvals/{waiting}/decide", json={"decision": "approve"})
        answer = await client.call_tool("sample_break", {"name": "bug"}, raise_on_error=False)
    assert (answer.structured_content or {})["code"] == "internal_error"
    assert "secret" not in str(answer)


async def test_without_a_valid_key_nobody_gets_in(nobody: httpx.AsyncClient, browser: Door) -> None:
    ada = await browser(Role.ADMIN)
    for http in (nobody, ada):
        for header in ({}, {"Authorization": "Bearer jk_wrong"}, {"Authorization": "Basic x"}):
            answer = await http.post("/mcp", json=LIST, headers=HEADERS | header)
            assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_revoked_key_loses_its_session_within_a_second(
    live: str, app: App, key: Key
) -> None:
    secret = await key(Role.ADMIN)
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        async with client_of(live, secret) as client:
            await client.list_tools()
            [known] = await app.parts.auth.keys.list()
            await app.parts.auth.keys.revoke(known.id)
            await client.call_tool("sample_look", {})
    assert not DONE


async def test_the_door_answers_with_and_without_a_slash(program: Door) -> None:
    ada = await program(Role.ADMIN)
    for path in ("/mcp", "/mcp/"):
        answer = await ada.post(path, json=LIST, headers=HEADERS)
        assert answer.status_code == 200 and answer.json()["result"]["tools"]
