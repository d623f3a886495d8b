"""Tools over REST, by name and by their conventional paths."""

import asyncio
import json

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import Match, Route

from api.tools import add_conventional
from nebula.auth.principal import Role
from nebula.tool.registry import Registry
from tests.api.conftest import Door
from tests.api.samples import DONE

JSON = {"Content-Type": "application/json"}


async def approve(person: httpx.AsyncClient, approval_id: str) -> None:
    decided = await person.post(
        f"/api/approvals/{approval_id}/decide", json={"decision": "approve"}
    )
    assert decided.status_code == 200, decided.text


async def test_a_tool_runs_and_answers_its_result_and_call_id(program: Door) -> None:
    ada = await program(Role.ADMIN)
    answer = await ada.post("/api/tools/sample_look", json={"name": "x"})
    assert (answer.status_code, answer.json()) == (200, {"name": "x"})
    assert answer.headers["Idempotency-Key"].startswith("rest-")


async def test_a_tool_shows_markdown_to_who_asks_for_it(program: Door) -> None:
    ada = await program(Role.ADMIN)
    answer = await ada.post(
        "/api/tools/sample_look", json={"name": "<b>x</b>"}, headers={"Accept": "text/markdown"}
    )
    assert answer.headers["content-type"].startswith("text/markdown")
    assert "x" in answer.text and "<b>" not in answer.text


async def test_an_empty_body_means_no_arguments(program: Door) -> None:
    ada = await program(Role.ADMIN)
    assert (await ada.post("/api/tools/sample_look")).json() == {"name": "all"}


async def test_the_list_shows_only_what_one_may_use(program: Door) -> None:
    seen = {}
    for role in (Role.ADMIN, Role.VIEWER, Role.CLIENT):
        http = await program(role)
        seen[role] = {tool["name"] for tool in (await http.get("/api/tools")).json()}
        for name in ("sample_look", "sample_write"):
            known = (await http.get(f"/api/tools/{name}")).status_code
            assert known == (200 if name in seen[role] else 404)
    assert {"sample_look", "sample_destroy", "users_create"} <= seen[Role.ADMIN]
    assert "sample_look" in seen[Role.VIEWER] and "sample_write" not in seen[Role.VIEWER]
    assert not any(name.startswith("sample") for name in seen[Role.CLIENT])


async def test_no_role_can_run_what_the_list_does_not_show(
    program: Door, registry: Registry
) -> None:
    for role in (Role.DEVELOPER, Role.VIEWER, Role.CLIENT):
        http = await program(role)
        shown = {tool["name"] for tool in (await http.get("/api/tools")).json()}
        for tool in registry:
            if tool.name in shown:
                continue
            # Broken arguments: who may not use a tool learns nothing about them.
            answer = await http.post(f"/api/tools/{tool.name}", content="{", headers=JSON)
            assert (tool.name, answer.status_code) == (tool.name, 403)
    assert not DONE


async def test_the_same_call_id_runs_an_effect_once(program: Door) -> None:
    ada = await program(Role.ADMIN)
    again = {"Idempotency-Key": "mine-1"}
    answers = [
        await ada.post("/api/tools/sample_write", json={"name": "x"}, headers=again)
        for _ in range(3)
    ]
    assert [a.json() for a in answers] == [{"name": "x"}] * 3
    assert {a.headers["Idempotency-Key"] for a in answers} == {"mine-1"}
    assert DONE == ["write x"]


async def test_the_same_call_id_with_other_arguments_is_refused(program: Door) -> None:
    ada = await program(Role.ADMIN)
    again = {"Idempotency-Key": "mine-1"}
    await ada.post("/api/tools/sample_write", json={"name": "x"}, headers=again)
    other = await ada.post("/api/tools/sample_write", json={"name": "y"}, headers=again)
    assert other.status_code == 409
    assert DONE == ["write x"]


async def test_a_call_that_needs_a_person_waits_and_then_runs_once(
    program: Door, browser: Door
) -> None:
    dev, admin = await program(Role.DEVELOPER), await browser(Role.ADMIN)
    mine = {"Idempotency-Key": "mine-2"}
    asked = await dev.post("/api/tools/sample_destroy", json={"name": "x"}, headers=mine)
    assert (asked.status_code, asked.json()["code"]) == (202, "approval_required")
    waiting = asked.json()["approval_id"]
    assert asked.headers["Location"] == f"/api/approvals/{waiting}"
    shown = (await admin.get(asked.headers["Location"])).json()
    assert (shown["tool"], shown["arguments"]["name"]) == ("sample_destroy", "x")
    assert [a["id"] for a in (await admin.get("/api/approvals")).json()] == [waiting]
    await approve(admin, waiting)
    runs = await asyncio.gather(
        *[dev.post("/api/tools/sample_destroy", json={"name": "x"}, headers=mine) for _ in range(4)]
    )
    assert 200 in {run.status_code for run in runs}
    assert DONE == ["destroy x"]
    late = await dev.post("/api/tools/sample_destroy", json={"name": "x"}, headers=mine)
    assert (late.status_code, late.json()) == (200, {"name": "x"})
    assert DONE == ["destroy x"]


async def test_a_program_never_decides_an_approval(program: Door) -> None:
    ada = await program(Role.ADMIN)
    asked = await ada.post("/api/tools/sample_destroy", json={"name": "x"})
    decided = await ada.post(
        f"/api/approvals/{asked.json()['approval_id']}/decide", json={"decision": "approve"}
    )
    assert decided.status_code == 403
    assert not DONE


async def test_a_denied_call_stays_denied(browser: Door) -> None:
    ada = await browser(Role.ADMIN)
    mine = {"Idempotency-Key": "mine-3"}
    asked = await ada.post("/api/tools/sample_destroy", json={"name": "x"}, headers=mine)
    path = f"/api/approvals/{asked.json()['approval_id']}/decide"
    assert (await ada.post(path, json={"decision": "deny"})).status_code == 200
    assert (await ada.post(path, json={"decision": "approve"})).status_code == 409
    again = await ada.post("/api/tools/sample_destroy", json={"name": "x"}, headers=mine)
    assert again.status_code == 403
    assert not DONE


async def test_an_approval_of_someone_else_is_not_shown(program: Door, browser: Door) -> None:
    ada, vic = await program(Role.ADMIN), await browser(Role.VIEWER)
    asked = await ada.post("/api/tools/sample_destroy", json={"name": "x"})
    path = f"/api/approvals/{asked.json()['approval_id']}"
    assert (await vic.get(path)).status_code == 404
    assert (await vic.post(f"{path}/decide", json={"decision": "deny"})).status_code == 404
    assert (await vic.get("/api/approvals?state=all")).json() == []


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ('{"name": 5}', 422, "invalid_input"),
        ('{"name": "x", "nmae": "y"}', 422, "invalid_input"),
        ('{"name": "x", "name": "y"}', 422, "invalid_input"),
        ("[" * 5000 + "]" * 5000, 422, "invalid_input"),
        ('{"name": ' + "[" * 100 + "]" * 100 + "}", 422, "invalid_input"),
        ('["x"]', 422, "invalid_input"),
        ("{", 422, "invalid_input"),
        ('{"name": NaN}', 422, "invalid_input"),
        ('{"name": "\\ud800"}', 422, "invalid_input"),
        (b'{"name": "\xff"}', 422, "invalid_input"),
        ('{"name": "' + "x" * 81 + '"}', 422, "invalid_input"),
    ],
)
async def test_a_body_that_does_not_fit_is_refused_with_a_reason(
    program: Door, body: str | bytes, status: int, code: str
) -> None:
    ada = await program(Role.ADMIN)
    answer = await ada.post("/api/tools/sample_write", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert not DONE


async def test_a_nul_in_text_does_no_harm(program: Door) -> None:
    ada = await program(Role.ADMIN)
    answer = await ada.post("/api/tools/sample_write", json={"name": "a\x00b\u202ec"})
    assert answer.status_code in {200, 422}


async def test_a_body_of_another_kind_is_refused(program: Door) -> None:
    ada = await program(Role.ADMIN)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/xml", ""):
        answer = await ada.post(
            "/api/tools/sample_write", content='{"name": "x"}', headers={"Content-Type": kind}
        )
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


async def test_an_unknown_tool_is_not_found(program: Door) -> None:
    ada = await program(Role.ADMIN)
    answer = await ada.post("/api/tools/no_such_tool", json={})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("call_id", ["", "x" * 129, "a\tb", "ä"])
async def test_a_malformed_call_id_is_refused(program: Door, call_id: str) -> None:
    ada = await program(Role.ADMIN)
    answer = await ada.post(
        "/api/tools/sample_look", headers={"Idempotency-Key": call_id.encode("latin-1")}
    )
    assert answer.status_code == 400


async def test_a_crash_shows_only_a_reference(program: Door) -> None:
    ada = await program(Role.ADMIN)
    answer = await ada.post("/api/tools/sample_break", json={"name": "bug"})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret" not in answer.text and "reference" in answer.json()["detail"]


async def test_an_upstream_that_is_down_says_so(program: Door) -> None:
    ada = await program(Role.ADMIN)
    answer = await ada.post("/api/tools/sample_break", json={"name": "upstream"})
    assert (answer.status_code, answer.json()["retryable"]) == (503, True)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"name": "a b", "number": 0, "tags": [], "exact": False}),
        (
            "?number=7&tags=x&tags=y&exact=true",
            {"name": "a b", "number": 7, "tags": ["x", "y"], "exact": True},
        ),
        ("?tags=x", {"name": "a b", "number": 0, "tags": ["x"], "exact": False}),
    ],
)
async def test_a_conventional_get_takes_path_and_query(
    program: Door, query: str, expected: dict[str, object]
) -> None:
    vic = await program(Role.VIEWER)
    answer = await vic.get(f"/api/sample/things/a%20b{query}")
    assert (answer.status_code, answer.json()) == (200, expected)


@pytest.mark.parametrize(
    "query", ["?number=x", "?number=99", "?number=1&number=2", "?unknown=1", "?name=other"]
)
async def test_a_conventional_get_refuses_what_does_not_fit(program: Door, query: str) -> None:
    vic, carl = await program(Role.VIEWER), await program(Role.CLIENT)
    assert (await vic.get(f"/api/sample/things/x{query}")).status_code == 422
    assert (await carl.get(f"/api/sample/things/x{query}")).status_code == 403


async def test_a_conventional_patch_takes_path_and_body(program: Door) -> None:
    ada = await program(Role.ADMIN)
    answer = await ada.patch("/api/sample/things/x", json={"number": 3})
    assert (answer.status_code, DONE) == (200, ["change x 3"])
    for body in ({"number": 3, "name": "y"}, {"number": 30}, {}):
        assert (await ada.patch("/api/sample/things/x", json=body)).status_code == 422
    broken = await ada.patch("/api/sample/things/x", content="{", headers=JSON)
    assert broken.status_code == 422
    vic = await program(Role.VIEWER)
    refused = await vic.patch("/api/sample/things/x", content="{", headers=JSON)
    assert refused.status_code == 403
    assert DONE == ["change x 3"]


async def test_users_are_listed_created_changed_and_deleted_through_their_routes(
    browser: Door,
) -> None:
    ada = await browser(Role.ADMIN)

    async def confirmed(method: str, path: str, body: object = None) -> httpx.Response:
        call = {"Idempotency-Key": f"{method} {path} {json.dumps(body)}"[:128]}
        asked = await ada.request(method, path, json=body, headers=call)
        assert asked.status_code == 202, asked.text
        await approve(ada, asked.json()["approval_id"])
        return await ada.request(method, path, json=body, headers=call)

    made = await confirmed("POST", "/api/users", {"name": "Bob", "role": "client"})
    assert made.json()["user"]["role"] == "client"
    changed = await confirmed("PATCH", "/api/users/bob", {"role": "developer"})
    assert changed.json()["user"]["role"] == "developer"
    names = [user["name"] for user in (await ada.get("/api/users")).json()["users"]]
    assert "Bob" in names
    limited = await confirmed("PUT", "/api/users/modules/developer", {"features": ["gpu"]})
    assert limited.json() == {"role": "developer", "features": ["gpu"]}
    assert (await confirmed("DELETE", "/api/users/Bob")).status_code == 200
    assert "Bob" not in [u["name"] for u in (await ada.get("/api/users")).json()["users"]]


async def test_the_outcome_of_every_call_is_counted(server: FastAPI, program: Door) -> None:
    ada = await program(Role.ADMIN)
    await ada.post("/api/tools/sample_look", json={"name": "x"})
    figures = (await ada.get("/metrics")).text
    assert 'jarvis_tool_calls_total{outcome="ok",tool="sample_look"}' in figures
    assert 'route="/api/tools/{name}"' in figures


@pytest.mark.parametrize("field", ["labels", "by_model", "words", "plan", "audience", "caller"])
async def test_nobody_says_of_themselves_what_they_have_read_or_settled(
    program: Door, field: str
) -> None:
    ada = await program(Role.ADMIN)
    said = {field: ["user"]}
    answer = await ada.post("/api/tools/sample_look", json={"name": "x", **said})
    assert answer.status_code == 422
    talk = await ada.post("/api/jarvis/chat", json={"message": "list users", **said})
    assert talk.status_code == 422


def test_a_path_with_a_word_comes_before_one_with_a_parameter_there() -> None:
    registry = Registry.discover("tools", "graphs")
    app = FastAPI()
    add_conventional(app, registry)
    for tool in registry:
        if tool.rest is None or "{" in tool.rest:
            continue
        method, path = tool.rest.split(" ")
        scope = {"type": "http", "method": method, "path": path, "root_path": ""}
        routes = [route for route in app.routes if isinstance(route, Route)]
        first = next(route for route in routes if route.matches(scope)[0] is Match.FULL)
        assert first.path == path, f"{tool.name} cannot be reached"
