"""How the pages look: sizes, themes, and a world without content networks."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.fakes.browser import Outside
from tests.ui.chat import ANSWER_MS
from tests.ui.conftest import DESKTOP, PHONE
from tests.ui.site import Site

SignIn = Callable[..., Any]
Window = Callable[..., BrowserContext]


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize(("size", "name"), [(DESKTOP, "desktop"), (PHONE, "phone")])
def test_the_chat_fits_its_window(
    signed_in: SignIn, size: dict[str, int], name: str, theme: str
) -> None:
    chat = signed_in(size, theme)
    expect(chat.page.locator("#starters button").first).to_be_enabled(timeout=ANSWER_MS)
    assert chat.fits()
    chat.picture(f"empty-{name}-{theme}")
    chat.say("check GPU status")
    expect(chat.page.locator(".js-plotly-plot").first).to_be_visible(timeout=ANSWER_MS)
    chat.settle()
    assert chat.fits()
    if name == "desktop":
        chat.page.locator('a[href$="#system"]').click()
        expect(chat.page.locator(".gpu").first).to_be_visible(timeout=ANSWER_MS)
    chat.picture(f"chat-{name}" if theme == "dark" else f"chat-{name}-light")


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_page_paints_the_colours_of_the_system_s_theme(signed_in: SignIn, theme: str) -> None:
    chat = signed_in(theme=theme)
    background = chat.page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in background[4:-1].split(",")) / 3
    assert brightness < 40 if theme == "dark" else brightness > 240


@pytest.mark.parametrize(("size", "name"), [(DESKTOP, "desktop"), (PHONE, "phone")])
def test_the_sign_in_page_fits_its_window(
    site: Site, window: Window, screenshots: Any, size: dict[str, int], name: str
) -> None:
    page = window(size).new_page()
    page.goto(f"{site.url}/login")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    screenshots.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=screenshots / f"sign-in-{name}.png", animations="disabled")


def test_the_page_needs_no_other_host_and_is_not_kept_waiting_for_one(
    signed_in: SignIn, outside: Outside
) -> None:
    chat = signed_in()
    asked: list[str] = []
    answered: list[str] = []
    chat.page.on("request", lambda request: asked.append(request.url))
    chat.page.on("requestfinished", lambda request: answered.append(request.url))
    chat.page.reload()
    expect(chat.page.locator("#chat-input")).to_be_visible(timeout=ANSWER_MS)
    assert any(url.endswith(".js") for url in asked)
    assert any(url.endswith(".css") for url in asked)
    strangers = [url for url in asked if not url.startswith(("http://127.0.0.1", "data:", "blob:"))]
    assert strangers == []
    assert not any(outside.heard_of(host) for host in ("jsdelivr", "fonts.g", "chainlit"))
    # Nothing that the page is drawn with is still being waited for; pictures may come later.
    drawn = {url for url in asked if url.endswith((".js", ".css", ".woff2"))}
    assert drawn <= set(answered)
