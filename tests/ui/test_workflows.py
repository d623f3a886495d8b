"""Workflows in a real browser: drawn, run, decided and seen while they go on."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from nebula.auth.principal import Role
from tests.ui.chat import ANSWER_MS, Chat
from tests.ui.conftest import DESKTOP, PHONE
from tests.ui.site import Site

SignIn = Callable[..., Chat]
DEFINITION = """
name: spring-clean
steps:
  - id: look
    tool: gpu_status
  - id: burn
    tool: sample_burn
    with: {subject: old sketches}
  - id: again
    tool: gpu_status
    when: "1 > 2"
"""
GREETER = """\
name: greeter
description: Burns what is named, after a yes.
inputs:
  what: {type: text, default: sketches, description: What to burn}
  many: {type: integer, required: true, description: How many at most}
  door_token: {type: text}
  names: {type: list, description: Who is told}
cron: "0 7 * * 1-5"
steps:
  - id: burn
    tool: sample_burn
    with: {subject: "${inputs.what}"}
"""
FAILING = """
name: stumbles
steps:
  - id: look
    tool: gpu_status
  - id: node
    tool: services_logs
    with: {service: no-such-node}
"""


@pytest.mark.parametrize(
    ("size", "theme", "name"), [(DESKTOP, "light", "desktop"), (PHONE, "dark", "phone")]
)
def test_a_workflow_is_drawn_with_its_states_in_words_and_scrolls_on_a_phone(
    signed_in: SignIn, size: dict[str, int], theme: str, name: str
) -> None:
    chat = signed_in(size, theme)
    chat.say("show the sample diagram")
    figure = chat.page.locator("figure.workflow").last
    expect(figure.locator("[data-box]").first).to_be_visible(timeout=ANSWER_MS)
    chat.settle()
    for box, state, word in [("look", "done", "done"), ("sure", "waiting", "waits")]:
        expect(figure.locator(f'[data-box="{box}"]')).to_have_attribute("data-state", state)
        expect(figure.locator(f'[data-box="{box}"] .sign')).to_contain_text(word)
    steps = figure.get_by_role("list", name="Steps")
    expect(steps).to_contain_text("Restart <b>everything</b>")
    expect(steps).to_contain_text("waits for you")
    assert "\u202e" not in (figure.text_content() or "")
    letter = figure.locator(".title").first.evaluate("one => one.getBoundingClientRect().height")
    assert letter >= 9, "it can still be read"
    assert chat.fits()
    figure.scroll_into_view_if_needed()
    chat.picture(f"workflow-{name}")


def test_a_run_is_drawn_while_it_goes_on_and_waits_for_a_decision_in_sight(
    site: Site, signed_in: SignIn, person: str
) -> None:
    chat = signed_in()
    with site.rest(site.token(person)) as rest:
        made = rest.post("/api/tools/workflows_create", json={"definition": DEFINITION})
        assert made.status_code == 200, made.text
        chat.say("/workflows_get workflow=spring-clean")
        figure = chat.page.locator("figure.workflow[data-workflow]").last
        expect(figure.get_by_role("button", name="Run", exact=True)).to_be_enabled(
            timeout=ANSWER_MS
        )
        chat.settle()
        figure.get_by_role("button", name="Run", exact=True).click()
        burn = figure.locator('[data-box="burn"]')
        expect(burn).to_have_attribute("data-state", "waiting", timeout=ANSWER_MS)
        expect(figure.locator('[data-box="look"]')).to_have_attribute("data-state", "done")
        expect(figure.get_by_role("link", name="Decide")).to_be_visible()
        assert chat.fits()
        figure.locator("figcaption").scroll_into_view_if_needed()
        chat.picture("workflow-run-desktop")
        link = figure.get_by_role("link", name="Decide").get_attribute("href") or ""
        approval = link.split("/")[3]
        answer = rest.post(f"/api/approvals/{approval}/decide", json={"decision": "approve"})
        assert answer.status_code == 200, answer.text
    expect(figure).to_have_attribute("data-state", "done", timeout=ANSWER_MS)
    expect(burn.locator(".sign")).to_contain_text("done")
    expect(figure.locator('[data-box="again"]')).to_have_attribute("data-state", "skipped")
    figure.get_by_role("button", name="Run", exact=True).click()
    expect(burn).to_have_attribute("data-state", "waiting", timeout=ANSWER_MS)
    figure.get_by_role("button", name="Cancel").click()
    expect(figure).to_have_attribute("data-state", "cancelled", timeout=ANSWER_MS)
    expect(figure.get_by_role("button", name="Go on where it stopped")).to_be_visible()


def row(chat: Chat, name: str) -> Locator:
    return chat.page.locator(f'.workflows [data-name="{name}"]').last


def test_the_list_is_live_and_a_run_is_asked_for_its_inputs_at_their_fields(
    site: Site, signed_in: SignIn, person: str
) -> None:
    site.person(person, Role.DEVELOPER)
    chat = signed_in(name=person)
    with site.rest(site.token(person)) as rest:
        chat.say("list workflows")
        board = chat.page.locator(".workflows").last
        expect(board).to_contain_text("No workflows yet.", timeout=ANSWER_MS)
        chat.settle()
        made = rest.post("/api/tools/workflows_create", json={"definition": GREETER})
        assert made.status_code == 200, made.text
        mine = row(chat, "greeter")
        expect(mine.locator(".next")).to_contain_text("next in", timeout=5_000)
        expect(mine.locator(".chip")).to_have_text("never ran")
        mine.get_by_role("switch", name="greeter is switched on").click()
        expect(mine.locator(".next")).to_have_text("switched off", timeout=ANSWER_MS)
        rest.post("/api/tools/workflows_update", json={"workflow": "greeter", "action": "resume"})
        expect(mine.get_by_role("switch")).to_be_checked(timeout=5_000)
        mine.locator(".open").press("Enter")
        expect(mine.locator("dl")).to_contain_text("on weekdays at 07:00 (UTC)")
        mine.scroll_into_view_if_needed()
        chat.picture("workflows-list")
        mine.get_by_role("button", name="Run greeter").click()
        form = chat.page.locator("#side-view-content .inputs")
        expect(form.get_by_label("what")).to_be_focused(timeout=ANSWER_MS)
        expect(form.get_by_label("what")).to_have_value("sketches")
        expect(form.get_by_label("door_token")).to_have_attribute("type", "password")
        form.get_by_role("button", name="Run with these").click()
        expect(form.locator('[data-field="many"] [role="alert"]')).to_have_text("This is needed.")
        expect(form.get_by_label("many")).to_be_focused()
        form.get_by_label("many").fill("some")
        form.get_by_label("door_token").fill("open-sesame-77")
        form.get_by_label("many").press("Enter")
        expect(form.locator('[data-field="many"]')).to_contain_text("A whole number is needed")
        form.get_by_label("many").fill("3")
        form.get_by_label("names").fill("ada\ngrace")
        assert chat.fits()
        chat.picture("workflows-inputs")
        form.get_by_label("many").press("Enter")
        figure = chat.page.locator("#side-view-content figure.workflow")
        expect(figure).to_have_attribute("data-state", "waiting", timeout=ANSWER_MS)
        expect(mine.locator(".chip")).to_have_text("waits for you", timeout=5_000)
        expect(figure.locator(".given")).to_contain_text("door_token (hidden)")
        assert "open-sesame-77" not in chat.page.content()
        [run] = rest.post("/api/tools/workflows_list_runs", json={}).json()["runs"]
    given = {"what": "sketches", "many": 3, "names": ["ada", "grace"]}
    assert {name: run["inputs"][name] for name in given} == given
    figure.get_by_role("button", name="Cancel").click()
    expect(figure).to_have_attribute("data-state", "cancelled", timeout=ANSWER_MS)
    mine.get_by_role("button", name="Run greeter").click()
    expect(form.get_by_label("door_token")).to_have_value("", timeout=ANSWER_MS)


def test_a_failed_run_is_opened_from_the_history_and_goes_on_at_the_step_that_failed(
    site: Site, chat: Chat, person: str
) -> None:
    with site.rest(site.token(person)) as rest:
        rest.post("/api/tools/workflows_create", json={"definition": FAILING})
        rest.post("/api/tools/workflows_run", json={"workflow": "stumbles"})
        chat.say("/workflows_get workflow=stumbles")
        figure = chat.page.locator("figure.workflow[data-workflow]").last
        entry = figure.locator(".history li").first
        expect(entry).to_have_attribute("data-state", "failed", timeout=ANSWER_MS)
        chat.settle()
        expect(figure.locator("[data-box=look]")).to_have_attribute("data-state", "idle")
        entry.get_by_role("button").click()
        expect(figure.locator("[data-box=look]")).to_have_attribute("data-state", "done")
        expect(figure.locator("[data-box=node]")).to_have_attribute("data-state", "failed")
        figure.locator("summary").click()
        expect(figure.locator(".trail li").last).to_contain_text("no-such-node")
        assert chat.fits()
        chat.picture("workflow-history")
        figure.get_by_role("button", name="Retry from the failed step").click()
        expect(figure.locator(".trail li")).to_have_count(3, timeout=ANSWER_MS)
        expect(figure).to_have_attribute("data-state", "failed", timeout=ANSWER_MS)
        [run] = rest.post("/api/tools/workflows_list_runs", json={}).json()["runs"][:1]
        shown = rest.post(
            "/api/tools/workflows_get", json={"workflow": "stumbles", "run": run["id"]}
        )
    steps = [(step["step"], step["state"]) for step in shown.json()["steps"]]
    assert steps == [("look", "done"), ("node", "failed"), ("node", "failed")]


def test_a_workflow_is_written_beside_its_picture_and_forgets_nothing_until_it_is_saved(
    site: Site, signed_in: SignIn, person: str
) -> None:
    site.person(person, Role.DEVELOPER)
    chat = signed_in(theme="light", name=person)
    chat.say("create a workflow")
    editor = chat.page.locator(".editor").last
    expect(editor.locator(".verdict")).to_have_text("No mistakes", timeout=ANSWER_MS)
    chat.settle()
    expect(editor.locator('[data-box="sure"]')).to_be_attached()
    text = editor.get_by_role("textbox", name="Definition as YAML")
    text.fill("name: night-round\nsteps:")
    text.press("End")
    text.press("Enter")
    text.press_sequentially("- id: look")
    text.press("Enter")
    text.press_sequentially("tool: gpu_statu")
    expect(text).to_have_value("name: night-round\nsteps:\n  - id: look\n    tool: gpu_statu")
    mistake = editor.get_by_role("button", name="Line 4")
    expect(mistake).to_contain_text("Did you mean gpu_status", timeout=ANSWER_MS)
    expect(editor.locator(".gutter [data-wrong]")).to_have_text("4")
    expect(editor.locator("header .chip")).to_have_text("not saved")
    text.press("Escape")
    text.press("Tab")
    expect(mistake).to_be_focused()
    editor.get_by_role("button", name="Create workflow").click()
    expect(text).to_be_focused()
    assert text.evaluate("one => one.value.slice(one.selectionStart, one.selectionEnd)") == (
        "    tool: gpu_statu"
    )
    chat.page.set_viewport_size({"width": 1440, "height": 1240})
    assert chat.fits()
    chat.picture("workflow-editor")
    chat.reload()
    expect(text).to_have_value(re.compile("gpu_statu$"), timeout=ANSWER_MS)
    chat.page.locator(".editor select").select_option("disk-watch")
    expect(editor.get_by_role("alert")).to_contain_text("is not saved. Replace it with disk-watch?")
    editor.get_by_role("button", name="Keep mine").click()
    text.press("Control+End")
    text.press("s")
    text.press("Shift+Tab")
    expect(text).to_have_value(re.compile("\n  tool: gpu_status$"))
    text.press("Control+z")
    text.press("Control+s")
    expect(editor.locator(".made")).to_contain_text("night-round is saved", timeout=ANSWER_MS)
    expect(editor.locator("header .chip")).to_have_text("saved, version 1")
    expect(editor.locator('[data-box="look"]')).to_be_visible()
    assert chat.fits()
    with site.rest(site.token(person)) as rest:
        shown = rest.post("/api/tools/workflows_get", json={"workflow": "night-round"}).json()
    assert shown["definition"].endswith("  - id: look\n    tool: gpu_status")
    assert chat.page.evaluate("sessionStorage.length") == 0


def test_on_a_phone_a_workflow_is_edited_and_a_change_elsewhere_is_not_overwritten_unseen(
    site: Site, signed_in: SignIn, person: str
) -> None:
    site.person(person, Role.DEVELOPER)
    chat = signed_in(PHONE, "dark", name=person)
    with site.rest(site.token(person)) as rest:
        rest.post("/api/tools/workflows_create", json={"definition": GREETER})
        chat.say("list workflows")
        row(chat, "greeter").locator(".open").click(timeout=ANSWER_MS)
        row(chat, "greeter").get_by_role("button", name="Edit").click()
        over = chat.page.get_by_role("dialog")
        text = over.get_by_role("textbox", name="Definition as YAML")
        expect(text).to_have_value(re.compile("name: greeter"), timeout=ANSWER_MS)
        expect(over.locator(".verdict")).to_have_text("No mistakes", timeout=ANSWER_MS)
        assert chat.fits()
        chat.picture("workflow-editor-phone")
        text.press("Control+End")
        text.press_sequentially("runs_per_day: 3\n")
        other = GREETER + "minutes: 5\n"
        rest.post("/api/tools/workflows_update", json={"workflow": "greeter", "definition": other})
        expect(over.get_by_role("alert")).to_contain_text("there is version 2", timeout=5_000)
        over.get_by_role("button", name="Take that one").click()
        expect(text).to_have_value(other.strip())
        expect(over.locator("header .chip")).to_have_text("saved, version 2")
