"""A person at the chat page, as the browser tests drive them."""

import re
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

ANSWER_MS = 30_000
_BEGUN = """() => {
    const said = [...document.querySelectorAll('[data-step-type="user_message"]')].at(-1);
    const steps = [...document.querySelectorAll("[data-step-type]")];
    return document.querySelector("#stop-button") || steps.indexOf(said) < steps.length - 1;
}"""
"""What a page shows as soon as the server has taken a message: a stop button, or its answer."""


@dataclass(frozen=True)
class Chat:
    """A signed-in page."""

    page: Page
    screenshots: Path

    def connected(self) -> None:
        """Wait until the empty page is drawn for good and its socket is open."""
        starters = self.page.locator("#starters button")
        expect(starters.first).to_be_enabled(timeout=ANSWER_MS)

    def say(self, text: str) -> None:
        """Type a message and send it with the button."""
        self.page.locator("#chat-input").fill(text)
        self.page.locator("#chat-submit").click()
        expect(self.said(text)).to_be_visible()

    def settle(self) -> None:
        """Wait until the turn that was asked for last has begun and is over."""
        self.page.wait_for_function(_BEGUN, timeout=ANSWER_MS)
        expect(self.page.locator("#stop-button")).to_have_count(0, timeout=ANSWER_MS)
        expect(self.page.locator("#chat-submit")).to_be_visible(timeout=ANSWER_MS)

    def said(self, text: str) -> Locator:
        """Find what the person said."""
        mine = self.page.locator('[data-step-type="user_message"]')
        return mine.filter(has_text=text).last

    def answer(self, text: str | re.Pattern[str]) -> Locator:
        """Find an answer that holds a text."""
        answers = self.page.locator('[data-step-type="assistant_message"]')
        return answers.filter(has_text=text).last

    def tool(self, name: str) -> Locator:
        """Find the step of a tool call."""
        return self.page.locator('[data-step-type="tool"]').filter(has_text=name).last

    def card(self) -> Locator:
        """Find the latest approval card."""
        return self.page.locator("[data-approval]").last

    def reload(self) -> None:
        """Reload the page, once its address names the session."""
        self.page.wait_for_url("**/thread/*")
        self.page.reload()
        expect(self.page.locator("#chat-input")).to_be_visible(timeout=ANSWER_MS)

    def picture(self, name: str) -> None:
        """Keep a screenshot under a name, with nothing moving on it."""
        self.page.mouse.move(5, 400)
        self.page.evaluate("document.activeElement?.blur()")
        self.screenshots.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=self.screenshots / f"{name}.png", animations="disabled")

    def fits(self) -> bool:
        """Say whether nothing is wider than the window."""
        width = "Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"
        return bool(self.page.evaluate(f"{width} <= window.innerWidth"))
