"""S6: addresses that lead inside, and text that makes whoever shows it call outside.

Every form of the corpora in `benchmarks/data` on every door, over the real code and the real
wire: the web chat's messages, steps and cards at every moment of a streamed turn, the same page
in Chromium with its Content-Security-Policy switched off, the terminal, an MCP answer, the
payload that reaches Discord, the mail that reaches an SMTP server. Addresses are fetched by
`SafeFetch` over a network whose every inside address is a listening canary. `untouched` is how
many forms do something when they are handed on as they are (for addresses: how many a client
without the guard opens a connection for, or reads as an address at all).

Run: python -m benchmarks.s6
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from benchmarks.corpora import CANARY, Markup, markup, mentions, ssrf, terminal
from benchmarks.doors import DOORS, hits, pings, signs
from benchmarks.table import show
from nebula.log import configure_logging
from tests.fakes.inside import inside
from tests.nebula.markup.oracle import loads


def main() -> None:
    """Print forms, what they do untouched, and hits, by corpus and door."""
    configure_logging(level="WARNING")
    rows = [*asyncio.run(_doors()), *_chromium(), asyncio.run(_addresses())]
    print(show(["corpus and door", "forms", "untouched", "hits"], rows))


async def _doors() -> list[list[str]]:
    corpora: dict[str, tuple[Sequence[Markup], int]] = {
        "markup": (markup(), sum(bool(loads(form.text)) for form in markup())),
        "terminal": (terminal(), sum(bool(signs(form.text)) for form in terminal())),
        "mentions": (mentions(), sum(bool(pings(form.text)) for form in mentions())),
    }
    return [
        _row(f"{name}, {door}", len(forms), str(untouched), await hits(door, forms))
        for name, (forms, untouched) in corpora.items()
        for door in DOORS
    ]


def _row(name: str, forms: int, untouched: str, found: dict[str, list[str]]) -> list[str]:
    for form, things in found.items():
        print(f"{name}: {form}: {things}")
    return [name, str(forms), untouched, str(len(found))]


async def _addresses() -> list[str]:
    found: dict[str, list[str]] = {}
    async with inside() as network, network.fetcher() as fetch:
        for form in ssrf():
            rung, said = await network.attack(fetch, form)
            if rung or "LEAKED" in said:
                found[form.name] = [said]
    opened = sum(_reads(form.url) for form in ssrf())
    return _row("addresses, SafeFetch", len(ssrf()), str(opened), found)


def _reads(url: str) -> bool:
    """Say whether httpx alone takes it for a web address and would connect."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError):
        return False
    return parsed.scheme in {"http", "https"} and bool(parsed.host)


def _chromium() -> list[list[str]]:
    """Show every form in the real page; a hit is a request that the browser makes."""
    from tests.fakes.browser import EXECUTABLE

    if not Path(EXECUTABLE).exists():
        return [["markup, chat in Chromium", str(len(markup())), "–", "no Chromium here"]]
    asked = _asked_in_chromium()
    found = {form.name: _calls(form, asked) for form in markup()}
    hit = {name: things for name, things in found.items() if things}
    bites = sum(bool(loads(form.text)) for form in markup())
    return [_row("markup, chat in Chromium", len(markup()), str(bites), hit)]


def _calls(form: Markup, asked: list[str]) -> list[str]:
    return [url for url in asked if CANARY in url and url.split(CANARY)[-1][:3] in form.text]


def _asked_in_chromium() -> list[str]:
    from playwright.sync_api import expect

    from nebula.auth.principal import Role
    from tests.database import TestServer, remove
    from tests.fakes.browser import Chromium, silent_outside
    from tests.ui.chat import ANSWER_MS, Chat
    from tests.ui.poison import ASKING, poisoned
    from tests.ui.site import running

    run = f"s6pid{os.getpid()}"
    asked: list[str] = []
    try:
        with (
            TestServer(run) as postgres,
            postgres.clone() as url,
            TemporaryDirectory() as folder,
            running(url, Path(folder)) as site,
            silent_outside() as outside,
        ):
            site.person("ada", Role.ADMIN)
            chromium = Chromium(outside)
            with chromium.awake() as browser:
                context = browser.new_context(bypass_csp=True)
                cookie = {"name": "jarvis_session", "value": site.token("ada"), "url": site.url}
                context.add_cookies([cookie])  # type: ignore[list-item]
                page = context.new_page()
                page.on("request", lambda request: asked.append(request.url))
                page.goto(site.url)
                chat = Chat(page, Path(folder))
                chat.connected()
                with site.thinking(poisoned):
                    chat.say(ASKING)
                    expect(chat.answer("That was everything.")).to_be_visible(timeout=ANSWER_MS)
                    chat.settle()
                page.wait_for_load_state("networkidle")
                context.close()
            chromium.close()
            asked += [call.decode("latin-1") for call in outside.calls if CANARY.encode() in call]
    finally:
        remove(run)
    return asked


if __name__ == "__main__":
    main()
