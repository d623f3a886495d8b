"""Background jobs in a real browser: the card lives, survives a reload, and can be stopped."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from tests.ui.chat import ANSWER_MS, Chat
from tests.ui.conftest import DESKTOP, PHONE

SignIn = Callable[..., Chat]


def paint(chat: Chat, subject: str) -> Locator:
    chat.say(f"paint a {subject}")
    card = chat.page.locator("[data-job].job").last
    expect(card).to_have_attribute("data-state", re.compile("running|queued"), timeout=ANSWER_MS)
    return card


def share(card: Locator) -> int:
    return int((card.locator(".share").text_content() or "0").rstrip("%"))


def test_the_card_moves_to_its_end_and_then_the_result_is_shown(chat: Chat) -> None:
    card = paint(chat, "lighthouse")
    expect(card).to_have_attribute("data-state", "running", timeout=ANSWER_MS)
    expect(card.locator(".facts")).to_contain_text(re.compile(r"step \d of 8"), timeout=ANSWER_MS)
    first = share(card)
    later = re.compile("step [4-8] of 8 .*left")  # a step may pass between two looks
    expect(card.locator(".facts")).to_contain_text(later, timeout=ANSWER_MS)
    chat.picture("job-running")
    expect(card.locator(".share")).not_to_have_text(f"{first}%")
    expect(card).to_have_attribute("data-state", "succeeded", timeout=ANSWER_MS)
    result = chat.answer("The painting is done.")
    expect(result).to_be_visible(timeout=ANSWER_MS)
    expect(chat.page.locator(".result").filter(has_text="Colours")).to_have_count(1)
    expect(chat.page.locator(".js-plotly-plot")).to_have_count(1, timeout=ANSWER_MS)
    chat.picture("job-done")


def test_a_reload_keeps_the_card_and_where_the_job_is(chat: Chat) -> None:
    card = paint(chat, "sea")
    expect(card.locator(".facts")).to_contain_text("step 3 of 8", timeout=ANSWER_MS)
    chat.settle()
    chat.reload()
    expect(card.locator(".facts")).to_contain_text("step 3 of 8", timeout=ANSWER_MS)
    expect(card.locator(".log button")).to_contain_text("layer 3 of sea")
    card.get_by_role("button", name="Cancel").click()
    expect(card).to_have_attribute("data-state", "cancelled", timeout=ANSWER_MS)


def test_a_reload_keeps_the_result(chat: Chat) -> None:
    card = paint(chat, "harbour")
    table = chat.page.locator(".result").filter(has_text="Colours")
    expect(table).to_have_count(1, timeout=ANSWER_MS)
    chat.reload()
    expect(card).to_have_attribute("data-state", "succeeded", timeout=ANSWER_MS)
    expect(table).to_have_count(1, timeout=ANSWER_MS)


def test_cancel_stops_the_run(chat: Chat) -> None:
    card = paint(chat, "sea")
    expect(card.locator(".facts")).to_contain_text("step 3 of 8", timeout=ANSWER_MS)
    card.get_by_role("button", name="Cancel").click()
    expect(card).to_have_attribute("data-state", "cancelled", timeout=ANSWER_MS)
    expect(card.get_by_role("button", name="Cancel")).to_have_count(0)
    expect(card.get_by_role("button", name="Retry")).to_be_visible()


@pytest.mark.parametrize(
    ("size", "theme", "name"), [(DESKTOP, "light", "desktop"), (PHONE, "dark", "phone")]
)
def test_the_log_opens_the_error_is_said_and_retry_makes_a_new_job(
    signed_in: SignIn, size: dict[str, int], theme: str, name: str
) -> None:
    chat = signed_in(size, theme)
    card = paint(chat, "storm")
    card.locator(".log button").click()
    expect(card.locator(".log pre")).to_contain_text("layer 2 of storm", timeout=ANSWER_MS)
    assert chat.fits()
    chat.picture(f"job-log-{name}")
    expect(card).to_have_attribute("data-state", "queued", timeout=ANSWER_MS)
    expect(card.locator(".said")).to_contain_text(re.compile("attempt|again", re.I))
    card.get_by_role("button", name="Cancel").click()
    expect(card).to_have_attribute("data-state", "cancelled", timeout=ANSWER_MS)
    chat.settle()
    card.get_by_role("button", name="Retry").click()
    cards = chat.page.locator("[data-job].job")
    expect(cards).to_have_count(2, timeout=ANSWER_MS)
    assert cards.nth(0).get_attribute("data-job") != cards.nth(1).get_attribute("data-job")
    expect(cards.nth(1)).to_have_attribute("data-state", "running", timeout=ANSWER_MS)
    assert chat.fits()


def test_the_panel_lists_what_runs_and_cancels_it(chat: Chat) -> None:
    card = paint(chat, "sea")
    expect(card.locator(".facts")).to_contain_text("step 3 of 8", timeout=ANSWER_MS)
    chat.settle()
    chat.page.locator('#header a[href$="#system"]').click()
    job_id = card.get_attribute("data-job")
    line = chat.page.locator(f'.nebula-panel [data-job="{job_id}"]')
    expect(line).to_contain_text("painting layer 3", timeout=ANSWER_MS)
    chat.picture("job-panel")
    line.get_by_role("button", name="Cancel").click()
    expect(card).to_have_attribute("data-state", "cancelled", timeout=ANSWER_MS)
    expect(line).to_have_count(0, timeout=ANSWER_MS)
