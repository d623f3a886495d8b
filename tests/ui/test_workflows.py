"""Workflows in a real browser: drawn, run, decided and seen while they go on."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

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
    expect(figure.get_by_role("button", name="Resume")).to_be_visible()
