"""Talking to Jarvis over REST; no model is there, so command mode answers."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from nebula.app import App
from nebula.auth.principal import Role
from tests.api.conftest import Door
from tests.api.samples import DONE
from tests.api.test_events import frames

Key = Callable[[Role], Awaitable[str]]
JSON = {"Accept": "application/json"}
CUTS = 40


@pytest.fixture
async def talker(live: str, key: Key) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {await key(Role.ADMIN)}"}
    async with httpx.AsyncClient(base_url=live, headers=headers, timeout=30) as http:
        yield http


async def turn(answer: httpx.Response) -> list[dict[str, object]]:
    """Read a streamed turn to its end, checking each frame against its event."""
    assert answer.status_code == 200
    events = []
    async for fields in frames(answer):
        event = json.loads(fields["data"])
        assert (fields["event"], fields["id"]) == (event["type"], str(event["seq"]))
        events.append(event)
    return events


async def test_a_turn_streams_numbered_events_from_session_to_done(
    talker: httpx.AsyncClient,
) -> None:
    body = {"message": "list users"}
    async with talker.stream("POST", "/api/jarvis/chat", json=body) as answer:
        events = await turn(answer)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert (events[0]["type"], events[-1]["type"]) == ("session", "done")
    assert events[-1]["outcome"] == "answered"
    assert any(e["type"] == "tool" and e["name"] == "users_list" for e in events)


async def test_a_turn_comes_as_one_document_for_who_accepts_json(program: Door) -> None:
    ada = await program(Role.ADMIN)
    answer = await ada.post("/api/jarvis/chat", json={"message": "list users"}, headers=JSON)
    told = answer.json()
    assert (answer.status_code, told["outcome"]) == (200, "answered")
    assert told["session_id"] and told["text"] and told["events"][0]["type"] == "session"
    more = {"message": "list users", "session_id": told["session_id"]}
    again = await ada.post("/api/jarvis/chat", json=more, headers=JSON)
    assert again.json()["session_id"] == told["session_id"]
    said = (await ada.get(f"/api/sessions/{told['session_id']}/messages")).json()
    assert [message["role"] for message in said] == ["user", "assistant"] * 2


async def test_a_reader_that_is_cut_off_reads_on_where_it_was(talker: httpx.AsyncClient) -> None:
    for cut in range(CUTS):
        seen: list[object] = []
        body = {"message": "list users"}
        async with talker.stream("POST", "/api/jarvis/chat", json=body) as answer:
            session = turn_id = ""
            async for fields in frames(answer):
                event = json.loads(fields["data"])
                session = session or event.get("session_id", "")
                turn_id = turn_id or event.get("turn_id", "")
                seen.append(event["seq"])
                if len(seen) > cut % 4:
                    break
        headers = {"Last-Event-ID": str(seen[-1])}
        path = f"/api/jarvis/chat/{session}?turn_id={turn_id}"
        async with talker.stream("GET", path, headers=headers) as answer:
            rest = await turn(answer)
        seen += [event["seq"] for event in rest]
        assert seen == list(range(1, len(seen) + 1))
        assert rest[-1]["type"] == "done"


async def test_a_turn_waits_for_a_person_and_goes_on_when_resumed(browser: Door) -> None:
    ada = await browser(Role.ADMIN)
    asked = await ada.post(
        "/api/jarvis/chat", json={"message": "create user bob as viewer"}, headers=JSON
    )
    told = asked.json()
    assert told["outcome"] == "waiting", told
    [card] = told["approvals"]
    assert (card["tool"], card["arguments"]["name"]) == ("users_create", "bob")
    path = f"/api/approvals/{card['approval_id']}/decide"
    assert (await ada.post(path, json={"decision": "approve"})).status_code == 200
    resumed = await ada.post(f"/api/jarvis/chat/{told['session_id']}/resume", headers=JSON)
    assert resumed.json()["outcome"] == "answered", resumed.text
    names = [user["name"] for user in (await ada.get("/api/users")).json()["users"]]
    assert names.count("bob") == 1


async def test_conversations_are_listed_renamed_closed_reopened_and_deleted(program: Door) -> None:
    ada = await program(Role.ADMIN)
    told = (await ada.post("/api/jarvis/chat", json={"message": "list users"}, headers=JSON)).json()
    path = f"/api/sessions/{told['session_id']}"
    assert [s["id"] for s in (await ada.get("/api/sessions")).json()] == [told["session_id"]]
    assert (await ada.patch(path, json={"title": "People"})).json()["title"] == "People"
    assert (await ada.post(f"{path}/close")).json()["state"] == "closed"
    assert (await ada.get("/api/sessions?state=open")).json() == []
    assert (await ada.post(f"{path}/reopen")).json()["state"] == "open"
    assert (await ada.delete(path)).json() == {"deleted": True}
    assert (await ada.get(path)).status_code == 404


async def test_nobody_reads_or_touches_the_conversations_of_others(program: Door) -> None:
    ada, dev = await program(Role.ADMIN), await program(Role.DEVELOPER)
    told = (await ada.post("/api/jarvis/chat", json={"message": "list users"}, headers=JSON)).json()
    session = told["session_id"]
    for method, path, body in (
        ("GET", f"/api/sessions/{session}", None),
        ("GET", f"/api/sessions/{session}/messages", None),
        ("PATCH", f"/api/sessions/{session}", {"title": "x"}),
        ("POST", f"/api/sessions/{session}/close", None),
        ("DELETE", f"/api/sessions/{session}", None),
        ("POST", "/api/jarvis/chat", {"message": "hello", "session_id": session}),
        ("GET", f"/api/jarvis/chat/{session}", None),
        ("POST", f"/api/jarvis/chat/{session}/resume", None),
    ):
        answer = await dev.request(method, path, json=body)
        assert (path, answer.status_code) == (path, 404)
    assert (await dev.post(f"/api/jarvis/chat/{session}/cancel")).json() != {"cancelled": True}
    assert (await dev.get("/api/sessions")).json() == []


async def test_a_role_that_may_not_chat_is_told_so(program: Door, app: App) -> None:
    carl = await program(Role.CLIENT)
    await app.parts.auth.principals.set_features(Role.CLIENT, ["knowledge"])
    answer = await carl.post("/api/jarvis/chat", json={"message": "hello"})
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"message": ""}, 422),
        ({"message": " \x00 "}, 422),
        ({"message": "x" * 100_001}, 422),
        ({"message": "x", "session_id": "nothing"}, 404),
        ({"message": "x", "session_id": "a\x00b"}, 422),
        ({"message": "x", "who": "admin"}, 422),
        ({"message": "x", "attachments": [{"name": "a", "content": "no base64!"}]}, 422),
        (
            {
                "message": "x",
                "attachments": [{"name": "a", "content": "AAAA", "media_type": "image/png"}],
            },
            422,
        ),
    ],
)
async def test_a_message_that_does_not_fit_is_refused(
    program: Door, body: dict[str, object], status: int
) -> None:
    ada = await program(Role.ADMIN)
    answer = await ada.post("/api/jarvis/chat", json=body)
    assert (answer.status_code, "code" in answer.json()) == (status, True), answer.text


async def test_a_revoked_reader_gets_no_more_of_a_turn(talker: httpx.AsyncClient, app: App) -> None:
    [known] = await app.parts.auth.keys.list()
    await app.parts.auth.keys.revoke(known.id)
    answer = await talker.post("/api/jarvis/chat", json={"message": "list users"})
    assert answer.status_code == 401


async def test_many_turns_at_once_are_all_answered(program: Door) -> None:
    ada = await program(Role.ADMIN)
    answers = await asyncio.gather(
        *[
            ada.post("/api/jarvis/chat", json={"message": "list users"}, headers=JSON)
            for _ in range(20)
        ]
    )
    assert {(a.status_code, a.json()["outcome"]) for a in answers} == {(200, "answered")}
    assert len({a.json()["session_id"] for a in answers}) == 20
    assert not DONE
