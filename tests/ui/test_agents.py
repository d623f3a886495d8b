"""Agents in a real browser: listed, built in a form, tried, run, stopped and deleted."""

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from benchmarks.corpora import CANARY
from nebula.auth.principal import Role
from tests.fakes.browser import Outside
from tests.fakes.scripted import ModelRequest, Reply, call, say
from tests.ui.chat import ANSWER_MS, Chat
from tests.ui.conftest import DESKTOP, PHONE
from tests.ui.site import Site

SignIn = Callable[..., Chat]
HOSTILE = f'<img src="http://{CANARY}/report.png"> ![x](http://{CANARY}/x.png) \u202eevil'
PURPOSE = "Look at the graphics cards. Switch the studio to SDXL when nothing is painted there."


def board(chat: Chat) -> Locator:
    return chat.page.locator(".agents:has([data-ready])").last


def row(chat: Chat, agent: dict[str, Any]) -> Locator:
    return chat.page.locator(f'.agent[data-agent="{agent["id"]}"]').first


def use(site: Site, who: str, tool: str, /, **arguments: Any) -> dict[str, Any]:
    with site.rest(site.token(who)) as rest:
        answer = rest.post(f"/api/tools/{tool}", json=arguments)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


def made_by(site: Site, person: str, **more: Any) -> dict[str, Any]:
    given = {"name": "card-watch", "purpose": PURPOSE, "features": ["gpu"], **more}
    return dict(use(site, person, "agents_create", **given)["agent"])


def field(form: Locator, name: str) -> Locator:
    return form.locator(f'[data-field="{name}"]')


@pytest.mark.parametrize(
    ("size", "theme", "name"),
    [(DESKTOP, "dark", "desktop"), (PHONE, "light", "phone")],
)
def test_an_agent_is_built_in_a_form_that_knows_mistakes_and_forgets_nothing(
    site: Site, signed_in: SignIn, person: str, size: dict[str, int], theme: str, name: str
) -> None:
    chat = signed_in(size, theme)
    chat.say("create an agent")
    form = chat.page.locator(".agents.form")
    expect(form).to_be_visible(timeout=ANSWER_MS)
    chat.settle()
    field(form, "name").locator("input").fill("card-watch")
    field(form, "purpose").locator("textarea").fill(PURPOSE)
    form.get_by_role("textbox", name="Search features and tools").fill("gpu")
    form.get_by_role("checkbox", name=re.compile("^gpu all its tools")).check()
    expect(form.locator('.choice li:has-text("gpu_status") .effect')).to_have_text("looks")
    form.get_by_role("switch", name="On a schedule").click()
    field(form, "cron").locator("input").fill("61 * * * *")
    expect(form.locator(".preview")).to_contain_text("not a cron expression", timeout=ANSWER_MS)
    form.get_by_role("button", name="Create agent").click()
    expect(field(form, "cron").get_by_role("alert")).to_contain_text("The schedule:")
    expect(field(form, "cron").locator("input")).to_be_focused()
    chat.reload()
    expect(field(form, "purpose").locator("textarea")).to_have_value(PURPOSE, timeout=ANSWER_MS)
    form.get_by_role("button", name="Weekdays at 7").click()
    field(form, "timezone").locator("input").fill("Europe/Berlin")
    expect(form.locator(".preview")).to_contain_text("on weekdays at 07:00 (Europe/Berlin)")
    expect(form.locator(".preview li")).to_have_count(3)
    assert chat.fits()
    chat.picture(f"agents-form-{name}")
    form.get_by_role("button", name="Create agent").click()
    expect(form.locator(".made")).to_contain_text("card-watch is saved", timeout=ANSWER_MS)
    made = use(site, person, "agents_show", agent="card-watch")["agent"]
    assert (made["owner_name"], made["features"]) == (person, ["gpu"])
    assert (made["cron"], made["timezone"]) == ("0 7 * * 1-5", "Europe/Berlin")
    chat.say("list agents")
    expect(row(chat, made)).to_be_visible(timeout=ANSWER_MS)
    chat.settle()
    row(chat, made).locator(".open").click()
    expect(row(chat, made).locator("dl")).to_contain_text("gpu (all)")
    assert chat.fits()
    row(chat, made).scroll_into_view_if_needed()
    chat.picture(f"agents-builder-{name}")


def test_a_dry_run_shows_its_steps_as_they_come_and_what_it_would_have_done(
    site: Site, signed_in: SignIn, person: str, outside: Outside
) -> None:
    chat = signed_in()
    agent = made_by(site, person)
    seen = threading.Event()

    def thinks(request: ModelRequest) -> Reply:
        if not any(message.get("role") == "tool" for message in request.messages):
            return call("gpu_status", {})
        seen.wait(30)
        if len(used(request)) < 2:
            return call("gpu_switch", {"service": "SDXL", "node": "studio"})
        return say("The studio is idle. I would switch it to SDXL. " + HOSTILE)

    with site.thinking(thinks):
        chat.say("/agents_show agent=card-watch")
        expect(row(chat, agent)).to_be_visible(timeout=ANSWER_MS)
        row(chat, agent).get_by_role("button", name="Dry run").click()
        run = chat.page.locator("#side-view-content .run")
        expect(run).to_have_attribute("data-state", "running", timeout=ANSWER_MS)
        expect(run.locator(".steps")).to_contain_text("gpu_status", timeout=ANSWER_MS)
        expect(row(chat, agent).locator(".chip").first).to_have_text("dry run running")
        seen.set()
        expect(run).to_have_attribute("data-state", "done", timeout=ANSWER_MS)
    expect(run.locator(".did")).to_contain_text("gpu_switch")
    expect(run.locator(".did")).to_contain_text("SDXL")
    expect(run.locator(".report")).to_contain_text("I would switch it to SDXL.")
    expect(run.locator(".report")).to_contain_text(f'<img src="http://{CANARY}/report.png">')
    expect(run.locator(".report")).to_contain_text("\\u202eevil")
    expect(run.locator(".facts")).to_contain_text("tokens")
    expect(row(chat, agent).locator(".chip").first).to_have_text("dry run done")
    assert chat.fits()
    chat.picture("agents-run-desktop")
    run.get_by_role("link", name="Open and continue").click()
    expect(chat.answer("I would switch it to SDXL.")).to_be_visible(timeout=ANSWER_MS)
    assert not outside.heard_of(CANARY)


def used(request: ModelRequest) -> list[dict[str, Any]]:
    return [message for message in request.messages if message.get("role") == "tool"]


def test_the_list_hears_what_happens_elsewhere_and_deleting_waits_for_an_approval(
    site: Site, signed_in: SignIn, person: str
) -> None:
    chat = signed_in()
    agent = made_by(site, person, cron="0 7 * * *")
    chat.say("list agents")
    mine = row(chat, agent)
    expect(mine.locator(".next")).to_contain_text("next in", timeout=ANSWER_MS)
    chat.settle()
    use(site, person, "agents_update", agent="card-watch", action="pause")
    expect(mine.locator(".next")).to_have_text("switched off", timeout=5_000)
    switch = mine.get_by_role("switch", name="card-watch is switched on")
    expect(switch).not_to_be_checked()
    switch.focus()
    chat.page.keyboard.press("Space")
    expect(switch).to_be_checked(timeout=ANSWER_MS)
    assert use(site, person, "agents_show", agent="card-watch")["agent"]["enabled"]
    row(chat, agent).locator(".open").press("Enter")
    row(chat, agent).get_by_role("button", name="Delete").click()
    expect(chat.card()).to_have_attribute("data-state", "pending", timeout=ANSWER_MS)
    expect(chat.card().locator(".tool")).to_have_text("agents_delete")
    chat.reload()
    expect(row(chat, agent)).to_be_visible(timeout=ANSWER_MS)
    chat.card().get_by_role("button", name="Approve").click()
    expect(chat.answer("is deleted, with the record of 0 runs")).to_be_visible(timeout=ANSWER_MS)
    expect(row(chat, agent)).to_have_count(0, timeout=5_000)
    chat.page.context.set_offline(True)
    other = made_by(site, person, name="elsewhere-" + "long" * 7)
    expect(row(chat, other)).to_have_count(0)
    chat.page.context.set_offline(False)
    expect(row(chat, other)).to_be_visible(timeout=ANSWER_MS)
    assert chat.fits()


def test_a_run_that_waits_is_seen_everywhere_and_goes_on_once_it_was_decided(
    site: Site, signed_in: SignIn, person: str
) -> None:
    chat = signed_in(theme="light")
    agent = made_by(site, person, name="gardener", features=[], tools=["sample_burn"])

    def thinks(request: ModelRequest) -> Reply:
        if not used(request):
            return call("sample_burn", {"subject": "dead leaves"})
        return say("The leaves are burnt.")

    with site.thinking(thinks):
        chat.say("/agents_show agent=gardener")
        expect(row(chat, agent)).to_be_visible(timeout=ANSWER_MS)
        row(chat, agent).get_by_role("button", name="Run", exact=True).click()
        run = chat.page.locator("#side-view-content .run")
        expect(run).to_have_attribute("data-state", "waiting", timeout=ANSWER_MS)
        expect(run.locator(".did")).to_contain_text("waits for approval")
        expect(row(chat, agent).locator(".chip").first).to_have_text("waits for you")
        chat.page.locator("#side-view-title button").click()
        chat.page.locator('#header a[href$="#system"]').click()
        line = chat.page.locator(f'.nebula-panel [data-agent="{agent["id"]}"]')
        expect(line).to_contain_text("waits for you", timeout=ANSWER_MS)
        chat.picture("agents-panel-desktop-light")
        line.get_by_role("link", name="decide").click()
        expect(chat.card()).to_have_attribute("data-state", "pending", timeout=ANSWER_MS)
        chat.card().get_by_role("button", name="Approve").click()
        expect(chat.answer("The leaves are burnt.")).to_be_visible(timeout=ANSWER_MS)
    shown = use(site, person, "agents_list_runs", agent="gardener")["runs"]
    assert [(one["state"], one["dry_run"]) for one in shown] == [("done", False)]


def test_an_agent_that_its_failures_switched_off_waits_for_its_owner_with_a_button(
    site: Site, signed_in: SignIn, person: str
) -> None:
    chat = signed_in(theme="dark")
    limits = {"failures": 1, "steps": 1}
    tools = {"features": [], "tools": ["gpu_status"]}
    agent = made_by(site, person, name="stubborn", **tools, limits=limits)
    chat.say("/agents_show agent=stubborn")
    expect(row(chat, agent)).to_be_visible(timeout=ANSWER_MS)
    header = chat.page.locator("#header")
    waiting = header.locator("[data-waiting]")
    before = int(waiting.get_attribute("data-waiting") or 0) if waiting.count() else 0
    with site.thinking(lambda _request: call("gpu_status", {})):
        use(site, person, "agents_run", agent="stubborn")
        more = header.locator(f'[data-waiting="{before + 1}"]')
        expect(more).to_be_visible(timeout=ANSWER_MS)
    chat.page.locator('#header a[href$="#system"]').click()
    notice = chat.page.locator(".nebula-panel [data-notice]")
    expect(notice).to_contain_text("It failed 1 times in a row", timeout=ANSWER_MS)
    expect(notice).to_contain_text("Say: resume agent stubborn")
    chat.picture("agents-switched-off-desktop-dark")
    notice.get_by_role("button", name="Switch on again").press("Enter")
    expect(notice).to_have_count(0, timeout=ANSWER_MS)
    expect(more).to_have_count(0, timeout=ANSWER_MS)
    assert use(site, person, "agents_show", agent="stubborn")["agent"]["enabled"]


def test_what_a_stopped_run_had_asked_is_no_longer_asked_on_its_card(
    site: Site, signed_in: SignIn, person: str
) -> None:
    chat = signed_in(PHONE, "light")
    made_by(site, person, name="gardener", features=[], tools=["sample_burn"])
    with site.thinking(lambda _: call("sample_burn", {"subject": "dead leaves"})):
        run = use(site, person, "agents_run", agent="gardener")["run"]
        chat.say("/agents_list_runs agent=gardener")
        entry = chat.page.locator(f'.run[data-run="{run["id"]}"]')
        expect(entry).to_have_attribute("data-state", "waiting", timeout=ANSWER_MS)
        chat.settle()
        entry.locator(".open").click()
        entry.get_by_role("link", name="See the question").click()
        card = chat.card()
        expect(card.get_by_role("button", name="Approve")).to_be_enabled(timeout=ANSWER_MS)
        use(site, person, "agents_stop", which="gardener")
        expect(card).to_have_attribute("data-state", "withdrawn", timeout=ANSWER_MS)
    expect(card).to_contain_text("No longer needed")
    expect(card.get_by_role("button")).to_have_count(0)
    assert chat.fits()
    chat.picture("chat-approval-withdrawn")


def test_on_a_phone_the_form_opens_over_the_chat_and_an_approval_is_not_hidden_behind_it(
    site: Site, signed_in: SignIn, person: str
) -> None:
    chat = signed_in(PHONE, "dark")
    made_by(site, person)
    chat.say("list agents")
    board(chat).get_by_role("button", name="New agent").click()
    over = chat.page.get_by_role("dialog")
    expect(over.locator(".agents.form")).to_be_visible(timeout=ANSWER_MS)
    form = over.locator(".agents.form")
    field(form, "name").locator("input").fill("night-watch")
    field(form, "purpose").locator("textarea").fill(PURPOSE)
    form.get_by_role("checkbox", name=re.compile("^gpu all its tools")).check()
    assert chat.fits()
    field(form, "name").locator("input").scroll_into_view_if_needed()
    chat.picture("agents-form-over-phone-dark")
    form.get_by_role("button", name="Create agent").press("Enter")
    form.locator(".made").get_by_role("button", name="Show it").click()
    over.get_by_role("button", name="Delete").click()
    expect(over).to_have_count(0, timeout=ANSWER_MS)
    expect(chat.card()).to_have_attribute("data-state", "pending", timeout=ANSWER_MS)
    chat.card().get_by_role("button", name="Deny").click()
    expect(chat.card()).to_have_attribute("data-state", "denied", timeout=ANSWER_MS)
    assert use(site, person, "agents_show", agent="night-watch")["agent"]["enabled"]


def test_who_may_only_look_is_offered_no_buttons(
    site: Site, signed_in: SignIn, person: str
) -> None:
    site.person(f"{person}-viewer", Role.VIEWER)
    chat = signed_in(name=f"{person}-viewer")
    chat.say("list agents")
    agents = chat.page.locator(".agents").last
    expect(agents).to_contain_text("No agents yet.", timeout=ANSWER_MS)
    expect(agents.get_by_role("button")).to_have_count(0)
