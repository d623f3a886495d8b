"""The page behind the link that an MCP client shows a person."""

import asyncio
import json

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text, update

from nebula.app import App
from nebula.auth.cookies import COOKIE
from nebula.auth.models import SessionRow
from nebula.auth.principal import Role
from tests.api.conftest import SITE, Door
from tests.api.samples import DONE

ODD = "<script>alert(1)</script>\u202e"


async def _asked(program: Door, name: str = "x") -> str:
    """Make a call that waits for a person and return its approval's page."""
    http = await program(Role.DEVELOPER)
    waiting = await http.post("/api/tools/sample_destroy", json={"name": name})
    assert waiting.status_code == 202
    return f"/api/approvals/{waiting.json()['approval_id']}/page"


async def test_the_page_shows_the_whole_call_and_only_as_text(program: Door, browser: Door) -> None:
    page = await (await browser(Role.ADMIN)).get(await _asked(program, ODD))
    assert page.status_code == 200
    assert "sample_destroy" in page.text and "developer-program" in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\u202e" in page.text
    assert page.text.count("<script") == 1
    assert '<script src="/api/approvals/page.js" defer></script>' in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self';" in policy
    script = await (await browser(Role.VIEWER)).get("/api/approvals/page.js")
    assert script.headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize(
    ("form", "state"),
    [
        ({"decision": "approve", "comment": ""}, "Approved by admin-person"),
        ({"decision": "deny", "comment": "no"}, "Denied by admin-person"),
        ({"decision": "request_changes", "comment": "Use y"}, "Changes requested by admin-person"),
    ],
)
async def test_a_button_decides_and_the_page_says_so(
    program: Door, browser: Door, form: dict[str, str], state: str
) -> None:
    path, admin = await _asked(program), await browser(Role.ADMIN)
    done = await admin.post(path, data=form)
    assert (done.status_code, done.headers["location"]) == (303, path)
    page = (await admin.get(path)).text
    assert state in page and form["comment"] in page
    assert "<form" not in page
    assert not DONE, "the call is made again by whoever asked"
    late = await admin.post(path, data={"decision": "approve"})
    assert late.status_code == 409 and "<h1>That did not work</h1>" in late.text


async def test_whoever_is_not_signed_in_signs_in_first_and_comes_back(
    program: Door, nobody: httpx.AsyncClient
) -> None:
    path = await _asked(program)
    answer = await nobody.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/login?next={path.replace('/', '%2F')}"


async def test_a_program_or_another_site_decides_nothing(program: Door, browser: Door) -> None:
    path, admin = await _asked(program), await browser(Role.ADMIN)
    by_key = await (await program(Role.ADMIN)).post(path, data={"decision": "approve"})
    elsewhere = await admin.post(
        path, data={"decision": "approve"}, headers={"Origin": "http://evil.test"}
    )
    assert (by_key.status_code, elsewhere.status_code) == (403, 403)
    assert ">Approve</button>" in (await admin.get(path)).text


@pytest.mark.parametrize(
    "form",
    [{"decision": "request_changes", "comment": " "}, {"decision": "maybe"}, {}, {"x": "y" * 3000}],
)
async def test_no_answer_is_told_on_a_page_that_leads_back(
    program: Door, browser: Door, form: dict[str, str]
) -> None:
    path, admin = await _asked(program), await browser(Role.ADMIN)
    answer = await admin.post(path, data=form)
    assert answer.status_code == 422
    assert f'href="{path}"' in answer.text
    assert answer.headers["content-type"].startswith("text/html")


async def test_an_unknown_approval_and_another_s_are_the_same_page(
    program: Door, browser: Door
) -> None:
    viewer = await browser(Role.VIEWER)
    unknown = await viewer.get("/api/approvals/apr_nothing/page")
    hidden = await viewer.get(await _asked(program))
    assert unknown.status_code == hidden.status_code == 404


async def test_the_inbox_shows_what_waits_from_every_door(program: Door, browser: Door) -> None:
    path = await _asked(program, "first")
    page = await (await browser(Role.ADMIN)).get("/api/approvals/inbox")
    assert "first" in page.text and f'action="{path}"' in page.text
    assert (
        "Nothing waiting for you"
        in (await (await browser(Role.VIEWER)).get("/api/approvals/inbox")).text
    )


async def test_what_weighs_most_takes_the_password_on_the_page(
    app: App, program: Door, server: FastAPI
) -> None:
    http = await program(Role.ADMIN)
    waiting = await http.post("/api/tools/users_create", json={"name": "eve"})
    path = f"/api/approvals/{waiting.json()['approval_id']}/page"
    user = await app.parts.auth.people.create("boss", Role.ADMIN, password="correct horse 1")
    signed_in = await app.parts.auth.logins.open(user.id)
    async with app.parts.db.session() as session:
        await session.execute(update(SessionRow).values(proven_at=text("now() - interval '1 h'")))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(server),
        base_url=SITE,
        headers={"Origin": SITE},
        cookies={COOKIE: signed_in.token},
    ) as boss:
        assert 'name="password"' in (await boss.get(path)).text
        bare = await boss.post(path, data={"decision": "approve"})
        wrong = await boss.post(path, data={"decision": "approve", "password": "guess"})
        assert (bare.status_code, wrong.status_code) == (403, 401)
        right = await boss.post(path, data={"decision": "approve", "password": "correct horse 1"})
        assert right.status_code == 303 and COOKIE in right.cookies
        assert "Approved by boss" in (await boss.get(path)).text


async def test_answers_reach_open_pages_of_all_who_may_decide_and_nobody_else(
    app: App, program: Door, browser: Door, live: str
) -> None:
    admin, viewer = await browser(Role.ADMIN), await browser(Role.VIEWER)
    heard: dict[str, list[str]] = {"admin": [], "viewer": []}

    async def listen(name: str, http: httpx.AsyncClient, ready: asyncio.Event) -> None:
        cookies = {COOKIE: http.cookies[COOKIE]}
        async with (
            httpx.AsyncClient(base_url=live, cookies=cookies, timeout=20) as streaming,
            streaming.stream("GET", "/api/approvals/events") as answer,
        ):
            ready.set()
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    heard[name].append(json.loads(line[6:])["data"]["state"])

    ready = [asyncio.Event(), asyncio.Event()]
    listening = [
        asyncio.create_task(listen("admin", admin, ready[0])),
        asyncio.create_task(listen("viewer", viewer, ready[1])),
    ]
    await asyncio.gather(*(event.wait() for event in ready))
    path = await _asked(program)
    await admin.post(path, data={"decision": "deny"})
    async with asyncio.timeout(15):
        while heard["admin"] != ["pending", "denied"]:
            await asyncio.sleep(0.01)
    for task in listening:
        task.cancel()
    await asyncio.gather(*listening, return_exceptions=True)
    assert heard["viewer"] == []
