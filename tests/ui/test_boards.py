"""A task for several agents in a real browser: who is how far, reports, runs, and stopping."""

import json
from typing import Any

from playwright.sync_api import Locator, expect

from tests.fakes.scripted import ModelRequest, Reply, call, say
from tests.ui.chat import ANSWER_MS, Chat
from tests.ui.conftest import PHONE
from tests.ui.site import Site

_SAID = {
    "ann": "The hall is lit.\n\nTwo lamps of three <b>burn</b>.",
    "bob": "The cellar is swept.",
    "joe": "So: hall and cellar are fine.",
}


def thinks(request: ModelRequest) -> Reply:
    """Answer as whose purpose is told; bob burns something first, which waits for a yes."""
    told = json.dumps(request.messages)
    name = next(name for name in ("joe", "bob", "ann") if f"You are {name}" in told)
    used = [message for message in request.messages if message.get("role") == "tool"]
    if name == "bob" and not used:
        return call("sample_burn", {"subject": "cellar rubbish"})
    return say(_SAID[name])


def hire(site: Site, rest: Any, *names: str) -> None:
    for name in names:
        given = {"name": name, "purpose": f"You are {name} of the house.", "tools": ["sample_burn"]}
        made = rest.post("/api/tools/agents_create", json=given)
        assert made.status_code == 200, made.text


def member(task: Locator, name: str) -> Locator:
    return task.locator(f'[data-agent="{name}"]')


def test_a_task_for_several_agents_says_who_is_how_far_and_is_stopped_by_a_button(
    site: Site, chat: Chat, person: str
) -> None:
    with site.rest(site.token(person)) as rest, site.thinking(thinks):
        hire(site, rest, "ann", "bob", "joe")
        chat.say('/agents_orchestrate task="Is the house fine?" agents=["ann","bob"] join=joe')
        task = chat.page.locator(".task").last
        expect(member(task, "bob")).to_have_attribute("data-state", "waiting", timeout=ANSWER_MS)
        expect(member(task, "ann")).to_have_attribute("data-state", "done", timeout=ANSWER_MS)
        expect(member(task, "joe").locator(".facts")).to_have_text("not begun")
        expect(task).to_contain_text("all of them have to succeed · joe joins the reports")
        expect(task.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "1")
        member(task, "ann").locator(".open").press("Enter")
        expect(member(task, "ann").locator(".report")).to_contain_text("Two lamps of three <b>burn")
        assert chat.fits()
        task.locator("footer").scroll_into_view_if_needed()
        chat.picture("agents-task")
        task.get_by_role("button", name="See the run of ann").click()
        run = chat.page.locator("#side-view-content .run")
        expect(run.locator(".report")).to_contain_text("The hall is lit.", timeout=ANSWER_MS)
        chat.page.locator("#side-view-title button").click()
        expect(member(task, "bob").get_by_role("link", name="Decide")).to_be_visible()
        waiting = rest.get("/api/approvals").json()
        [asked] = [one for one in waiting if one["principal_name"] == person]
        rest.post(f"/api/approvals/{asked['id']}/decide", json={"decision": "approve"})
        expect(task).to_have_attribute("data-state", "done", timeout=ANSWER_MS)
        expect(chat.answer("So: hall and cellar are fine.")).to_be_visible(timeout=ANSWER_MS)
        chat.page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        chat.say('/agents_orchestrate task="Once more." agents=["bob"] minutes=5')
        again = chat.page.locator(".task").last
        expect(member(again, "bob")).to_have_attribute("data-state", "waiting", timeout=ANSWER_MS)
        assert chat.fits()
        chat.picture("agents-task-phone")
        again.get_by_role("button", name="Stop everybody").click()
        expect(again).to_have_attribute("data-state", "cancelled", timeout=ANSWER_MS)
        expect(again).to_contain_text(f"{person} stopped it.")
        chat.reload()
    expect(chat.page.locator('.task[data-state="done"]')).to_be_visible(timeout=ANSWER_MS)
    expect(chat.page.locator('.task[data-state="cancelled"]')).to_be_visible(timeout=ANSWER_MS)
