"""One server and one Chromium per worker; a fresh browser profile and person per test."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext

from nebula.auth.principal import Role
from tests.database import TestServer
from tests.fakes.browser import Chromium, Outside, silent_outside
from tests.ui.chat import Chat
from tests.ui.site import Site, running

DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
_numbers = itertools.count(1)

SignIn = Callable[..., Chat]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")


@pytest.fixture(scope="session")
def site(postgres: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run the real server."""
    with postgres.clone() as url, running(url, tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(scope="session")
def outside() -> Iterator[Outside]:
    """Stand in for every host but loopback."""
    with silent_outside() as outside:
        yield outside


@pytest.fixture(scope="session")
def chromium(outside: Outside) -> Iterator[Chromium]:
    """Start Chromium."""
    chromium = Chromium(outside)
    yield chromium
    chromium.close()


@pytest.fixture
def browser(chromium: Chromium) -> Iterator[Browser]:
    """Give the browser for one test."""
    with chromium.awake() as browser:
        yield browser


@pytest.fixture
def window(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Give a function that opens a window with its own cookies."""
    opened: list[BrowserContext] = []

    def open_one(size: dict[str, int] = DESKTOP, theme: Any = "dark") -> BrowserContext:
        context = browser.new_context(viewport=size, color_scheme=theme)  # type: ignore[arg-type]
        opened.append(context)
        return context

    yield open_one
    for context in opened:
        context.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder pictures go to; `SCREENSHOTS=docs/screenshots` keeps them."""
    kept = os.environ.get("SCREENSHOTS")
    return Path(kept).resolve() if kept else tmp_path_factory.mktemp("screenshots")


@pytest.fixture
def person() -> str:
    """Give a name nobody has yet."""
    return f"ada{next(_numbers)}"


@pytest.fixture
def signed_in(
    site: Site, window: Callable[..., BrowserContext], screenshots: Path, person: str
) -> SignIn:
    """Give a function that opens the chat for a fresh administrator."""

    def open_chat(size: dict[str, int] = DESKTOP, theme: Any = "dark", name: str = "") -> Chat:
        if not name:
            site.person(person, Role.ADMIN)
        context = window(size, theme)
        token = site.token(name or person)
        context.add_cookies([{"name": "jarvis_session", "value": token, "url": site.url}])
        page = context.new_page()
        page.goto(site.url)
        chat = Chat(page, screenshots)
        chat.connected()
        return chat

    return open_chat


@pytest.fixture
def chat(signed_in: SignIn) -> Chat:
    """Open the chat at desktop size in the dark theme."""
    return signed_in()
