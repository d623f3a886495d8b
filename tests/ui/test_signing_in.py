"""Signing in and out, in a real browser."""

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import BrowserContext, Page, expect

from nebula.auth.principal import Role
from nebula.auth.service import Auth
from tests.ui.chat import ANSWER_MS
from tests.ui.site import Site

Window = Callable[..., BrowserContext]
SignIn = Callable[..., Any]
PASSWORD = "a long enough passphrase 9"


def sign_in(page: Page, name: str, password: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()


def test_the_one_time_link_opens_the_chat_once(site: Site, window: Window, person: str) -> None:
    link = site.person(person)
    page = window().new_page()
    page.goto(link)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#chat-input")).to_be_visible(timeout=ANSWER_MS)
    again = window().new_page()
    again.goto(link)
    again.get_by_role("button", name="Sign in").click()
    expect(again.locator("#chat-input")).to_have_count(0)
    expect(again.get_by_text("link", exact=False).first).to_be_visible()


def test_name_and_password_open_the_page_that_was_asked_for(
    site: Site, window: Window, person: str
) -> None:
    site.person(person, password=PASSWORD)
    page = window().new_page()
    page.goto(f"{site.url}/?prompt=hello")
    expect(page).to_have_url(re.compile("/login"))
    sign_in(page, person, PASSWORD)
    expect(page.locator("#chat-input")).to_have_text("hello", timeout=ANSWER_MS)


def test_a_wrong_password_is_said_without_telling_which_part_was_wrong(
    site: Site, window: Window, person: str
) -> None:
    site.person(person, password=PASSWORD)
    page = window().new_page()
    page.goto(f"{site.url}/login")
    sign_in(page, person, "something else entirely")
    expect(page.get_by_role("alert")).to_contain_text("name or the password is wrong")
    expect(page).to_have_url(re.compile("/login"))


def test_the_sign_in_page_never_leads_to_another_site(
    site: Site, window: Window, person: str
) -> None:
    site.person(person, password=PASSWORD)
    for target in ("//evil.test/", "https://evil.test/", "/\\evil.test"):
        page = window().new_page()
        page.goto(f"{site.url}/login?next={target}")
        sign_in(page, person, PASSWORD)
        expect(page.locator("#chat-input")).to_be_visible(timeout=ANSWER_MS)
        assert page.url.startswith(site.url)


def test_the_password_again_makes_a_sign_in_fresh_and_leads_back(
    site: Site, window: Window, person: str
) -> None:
    site.person(person, password=PASSWORD)
    page = window().new_page()
    page.goto(f"{site.url}/confirm?next=/?prompt=hello")
    sign_in(page, person, PASSWORD)
    expect(page.get_by_role("heading", name="Confirm that it is you")).to_be_visible()
    (before,) = page.context.cookies()
    page.get_by_label("Password", exact=True).fill("something else entirely")
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_role("alert")).to_contain_text("password is wrong")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    expect(page.locator("#chat-input")).to_have_text("hello", timeout=ANSWER_MS)
    (after,) = page.context.cookies()
    assert after["value"] != before["value"]


def test_the_only_cookie_is_our_session_out_of_reach_of_scripts(
    site: Site, window: Window, person: str
) -> None:
    page = window().new_page()
    page.goto(site.person(person))
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#starters button").first).to_be_enabled(timeout=ANSWER_MS)
    (cookie,) = page.context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == (
        "jarvis_session",
        True,
        "Lax",
    )
    assert page.evaluate("document.cookie") == ""


def test_signing_out_ends_the_session_on_the_server_too(site: Site, signed_in: SignIn) -> None:
    chat = signed_in()
    (cookie,) = chat.page.context.cookies()
    chat.page.locator("#user-nav-button").click()
    chat.page.get_by_role("menuitem", name="Sign out").click()
    expect(chat.page.get_by_role("button", name="Sign in")).to_be_visible(timeout=ANSWER_MS)
    with site.rest(cookie["value"]) as rest:
        assert rest.get("/user").status_code == 401
        assert rest.get("/api/auth/me").status_code == 401


def test_a_disabled_user_loses_the_open_page_without_touching_it(
    site: Site, signed_in: SignIn, person: str
) -> None:
    chat = signed_in()

    async def disable(auth: Auth) -> None:
        await auth.people.update(person, enabled=False)

    site.auth(disable)
    expect(chat.page.get_by_role("button", name="Sign in")).to_be_visible(timeout=ANSWER_MS)


def test_a_person_sees_nothing_of_another_one_s_sessions(
    site: Site, signed_in: SignIn, person: str
) -> None:
    chat = signed_in()
    chat.say("check GPU status")
    chat.settle()
    chat.page.wait_for_url("**/thread/*")
    address = chat.page.url
    site.person(f"{person}-guest", Role.ADMIN)
    guest = signed_in(name=f"{person}-guest")
    expect(guest.page.get_by_text("No sessions yet")).to_be_visible()
    guest.page.goto(address)
    expect(guest.page.get_by_text("check GPU status", exact=True)).to_have_count(0)
    thread = address.rsplit("/", 1)[-1]
    with site.rest(site.token(f"{person}-guest")) as rest:
        assert rest.get(f"/project/thread/{thread}").status_code == 404
        renamed = rest.put("/project/thread", json={"threadId": thread, "name": "mine"})
        assert renamed.status_code == 404
