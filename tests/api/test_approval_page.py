"""The page behind the link that an MCP client shows a person."""

import httpx
import pytest

from nebula.auth.principal import Role
from tests.api.conftest import Door
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
    assert "<script" not in page.text
    assert "script-src" not in page.headers["content-security-policy"]
    assert "default-src 'none'" in page.headers["content-security-policy"]


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
    assert "This needs your decision" in (await admin.get(path)).text


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
