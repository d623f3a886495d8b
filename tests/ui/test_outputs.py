"""Whatever an answer or a result holds, the page calls nobody: in a real browser."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from benchmarks.corpora import CANARY, markup
from nebula.auth.principal import Role
from tests.fakes.browser import Outside
from tests.ui.chat import ANSWER_MS, Chat
from tests.ui.poison import ASKING, poisoned
from tests.ui.site import Site
from ui.chat import shell


@pytest.fixture
def unguarded(browser: Browser, site: Site, person: str) -> Iterator[BrowserContext]:
    """Open a window whose browser ignores the page's policy: only our own work protects it."""
    site.person(person, Role.ADMIN)
    context = browser.new_context(bypass_csp=True)
    token = site.token(person)
    context.add_cookies([{"name": "jarvis_session", "value": token, "url": site.url}])
    yield context
    context.close()


def strangers(asked: list[str]) -> list[str]:
    return [url for url in asked if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))]


def test_no_form_of_markup_makes_the_page_call_anybody(
    site: Site, unguarded: BrowserContext, outside: Outside, screenshots: object
) -> None:
    page = unguarded.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(site.url)
    chat = Chat(page, screenshots)  # type: ignore[arg-type]
    chat.connected()
    with site.thinking(poisoned):
        chat.say(ASKING)
        expect(chat.answer("That was everything.")).to_be_visible(timeout=ANSWER_MS)
        chat.settle()
    chat.tool("sample_poison").get_by_role("button").first.click()
    expect(chat.tool("sample_poison")).to_contain_text("image not loaded")
    _nothing_loaded(page, asked, outside, site.url)
    link = chat.answer("That was everything.").locator(f'a[href="http://{CANARY}/86?secret"]').first
    expect(link).to_have_attribute("data-host", CANARY)
    chat.reload()
    expect(chat.answer("That was everything.")).to_be_visible(timeout=ANSWER_MS)
    _nothing_loaded(page, asked, outside, site.url)


def _nothing_loaded(page: Page, asked: list[str], outside: Outside, site: str) -> None:
    page.wait_for_load_state("networkidle")
    assert strangers(asked) == []
    assert not outside.heard_of(CANARY)
    drawn = page.locator("#root").locator(
        "iframe, object, embed, video, audio, base, form[action], meta, link, style, math, feImage"
    )
    assert drawn.count() == 0
    own = page.locator("img").evaluate_all("found => found.map(one => one.getAttribute('src'))")
    assert all(str(address).startswith(("/", site)) for address in own), own


@pytest.fixture
def raw(browser: Browser) -> Iterator[Callable[..., AbstractContextManager[Page]]]:
    """Give a function that opens HTML as it is, from a server of its own.

    A page that the test harness makes up counts as one of the public internet, from where
    Chromium lets nothing reach the canary on loopback: it would prove nothing.
    """

    @contextmanager
    def opened(html: str, headers: dict[str, str]) -> Iterator[Page]:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                for name, value in {"Content-Type": "text/html", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(html.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
            thread = Thread(target=server.serve_forever)
            thread.start()
            context = browser.new_context()
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/", wait_until="commit")
            yield page
            context.close()
            server.shutdown()
            thread.join()

    yield opened


Raw = Callable[..., AbstractContextManager[Page]]


def test_the_page_s_policy_alone_lets_no_form_call_anybody(raw: Raw, outside: Outside) -> None:
    # No policy keeps a page from leaving by itself; that HTML is shown as text does.
    forms = [form.text for form in markup() if "http-equiv=refresh" not in form.text]
    html = "<!doctype html><body>" + "\n".join(forms)
    html += f'<img src="http://{CANARY}/policy"><script>fetch("http://{CANARY}/run")</script>'
    with raw(html, {"Content-Security-Policy": shell.policy()}) as page:
        page.wait_for_load_state("load")
        assert page.locator("img").count() >= 5, "this page did draw them"
    assert not outside.heard_of(CANARY)


def test_without_them_the_canary_is_heard(raw: Raw, outside: Outside) -> None:
    with raw('<!doctype html><img src="http://heard.test/x.png">', {}):
        assert outside.hears("heard.test"), "else the tests above would prove nothing"


@pytest.mark.parametrize(
    "path", ["/", "/login", "/confirm", "/thread/x", "/public/logo_dark.svg", "/api/docs"]
)
@pytest.mark.parametrize("signed_in", [True, False])
def test_every_page_forbids_other_hosts_and_looks_up_no_names(
    site: Site, person: str, path: str, signed_in: bool
) -> None:
    site.person(person, Role.ADMIN)
    cookies = {"jarvis_session": site.token(person)} if signed_in else {}
    answer = httpx.get(
        site.url + path, cookies=cookies, headers={"Accept": "text/html"}, follow_redirects=True
    )
    assert answer.headers["x-dns-prefetch-control"] == "off"
    rules = dict(
        rule.strip().split(" ", 1) for rule in answer.headers["content-security-policy"].split(";")
    )
    assert rules["default-src"] in {"'self'", "'none'"}
    assert rules["base-uri"] == rules["frame-ancestors"] == "'none'"
    assert rules["form-action"] in {"'self'", "'none'"}
    assert not any("*" in value or "http" in value for value in rules.values()), rules
