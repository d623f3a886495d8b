"""Approval cards in a real browser: shown, kept, decided once, here or elsewhere."""

import re
from collections.abc import Callable
from typing import Any

import httpx
from playwright.sync_api import expect

from nebula.auth.principal import Role
from nebula.auth.service import Auth
from tests.fakes.scripted import ModelRequest, Reply, call, say
from tests.ui.chat import ANSWER_MS, Chat
from tests.ui.conftest import PHONE
from tests.ui.site import Site

SignIn = Callable[..., Any]


def people(site: Site) -> set[str]:
    async def names(auth: Auth) -> set[str]:
        return {user.name for user in await auth.people.list()}

    return site.auth(names)


def ask_to_delete(site: Site, chat: Chat, name: str) -> None:
    site.person(name, Role.VIEWER)
    chat.say(f"delete user {name}")
    expect(chat.card()).to_have_attribute("data-state", "pending", timeout=ANSWER_MS)
    chat.settle()


def approval_id(chat: Chat) -> str:
    return chat.card().get_attribute("data-approval") or ""


def test_a_destructive_call_waits_on_a_card_with_all_it_would_do(
    site: Site, chat: Chat, person: str
) -> None:
    ask_to_delete(site, chat, f"{person}-victim")
    card = chat.card()
    expect(card.locator(".tool")).to_have_text("users_delete")
    expect(card.locator(".effect")).to_have_text("critical")
    expect(card.locator("dd")).to_contain_text([f"{person}-victim"])
    expect(card.get_by_role("heading", name="Delete a user")).to_be_visible()
    expect(card.locator(".origin")).to_have_text("in the request")
    expect(card.get_by_role("table", name="Would be deleted")).to_contain_text("viewer")
    expect(card.locator(".clock")).to_contain_text(":")
    assert f"{person}-victim" in people(site)
    chat.picture("chat-approval")


def test_the_card_survives_a_reload_and_approving_it_runs_the_call_once(
    site: Site, chat: Chat, person: str
) -> None:
    ask_to_delete(site, chat, f"{person}-victim")
    chat.reload()
    expect(chat.card()).to_have_attribute("data-state", "pending", timeout=ANSWER_MS)
    with site.rest(site.token(person)) as rest:
        chat.card().get_by_role("button", name="Approve").click()
        expect(chat.card()).to_contain_text("Approved", timeout=ANSWER_MS)
        expect(chat.card()).to_contain_text(f"by {person}")
        expect(chat.answer("was deleted")).to_be_visible(timeout=ANSWER_MS)
        assert f"{person}-victim" not in people(site)
        again = rest.post(f"/api/approvals/{approval_id(chat)}/decide", json={"decision": "deny"})
    assert again.status_code == 409
    expect(chat.card().get_by_role("button")).to_have_count(0)


def test_what_weighs_most_is_approved_by_no_bare_word_and_denied_by_one(
    site: Site, chat: Chat, person: str
) -> None:
    ask_to_delete(site, chat, f"{person}-victim")
    chat.say("approve")
    expect(chat.answer("not approved by one word")).to_be_visible(timeout=ANSWER_MS)
    expect(chat.card()).to_have_attribute("data-state", "pending")
    chat.say("deny")
    expect(chat.card()).to_have_attribute("data-state", "denied", timeout=ANSWER_MS)
    assert f"{person}-victim" in people(site)


def test_a_question_is_approved_by_its_id_as_with_its_button(
    site: Site, chat: Chat, person: str
) -> None:
    ask_to_delete(site, chat, f"{person}-victim")
    chat.say(f"approve {approval_id(chat)}")
    expect(chat.card()).to_contain_text("Approved", timeout=ANSWER_MS)
    expect(chat.answer("was deleted")).to_be_visible(timeout=ANSWER_MS)
    assert f"{person}-victim" not in people(site)


def test_a_second_click_in_another_window_changes_nothing(
    site: Site, signed_in: SignIn, person: str
) -> None:
    chat = signed_in()
    ask_to_delete(site, chat, f"{person}-victim")
    chat.page.wait_for_url("**/thread/*")
    other = chat.page.context.new_page()
    other.goto(chat.page.url)
    twin = Chat(other, chat.screenshots)
    expect(twin.card().get_by_role("button", name="Deny")).to_be_visible(timeout=ANSWER_MS)
    # Neither window may learn of the other's click before its own.
    twin.page.route("**/api/approvals/*", lambda route: route.abort())
    chat.card().get_by_role("button", name="Approve").click()
    expect(chat.card()).to_contain_text("Approved", timeout=ANSWER_MS)
    twin.card().get_by_role("button", name="Deny").click()
    expect(twin.card().get_by_role("alert")).to_be_visible(timeout=ANSWER_MS)
    expect(chat.answer("was deleted")).to_be_visible(timeout=ANSWER_MS)
    assert f"{person}-victim" not in people(site)


def test_denying_leaves_everything_as_it_was(site: Site, chat: Chat, person: str) -> None:
    ask_to_delete(site, chat, f"{person}-victim")
    chat.card().get_by_role("button", name="Deny").click()
    expect(chat.card()).to_contain_text("Denied", timeout=ANSWER_MS)
    chat.settle()
    assert f"{person}-victim" in people(site)


def test_asking_for_changes_needs_words_and_keeps_them(site: Site, chat: Chat, person: str) -> None:
    ask_to_delete(site, chat, f"{person}-victim")
    card = chat.card()
    card.get_by_role("button", name="Request changes").click()
    expect(card.get_by_role("button", name="Send")).to_be_disabled()
    card.get_by_label("What should change?").fill("Only lock the account")
    card.get_by_role("button", name="Send").click()
    expect(card).to_contain_text("Only lock the account", timeout=ANSWER_MS)
    expect(card).to_have_attribute("data-state", "changes_requested")
    assert f"{person}-victim" in people(site)


def test_a_decision_made_elsewhere_shows_on_the_card_and_the_turn_goes_on(
    site: Site, chat: Chat, person: str
) -> None:
    ask_to_delete(site, chat, f"{person}-victim")
    with site.rest(site.token(person)) as rest:
        decided: httpx.Response = rest.post(
            f"/api/approvals/{approval_id(chat)}/decide", json={"decision": "approve"}
        )
        assert decided.status_code == 200
    expect(chat.card()).to_contain_text("Approved", timeout=ANSWER_MS)
    expect(chat.card()).to_contain_text("over REST")
    expect(chat.answer("was deleted")).to_be_visible(timeout=ANSWER_MS)
    assert f"{person}-victim" not in people(site)


def test_what_waits_is_listed_in_the_system_panel(site: Site, chat: Chat, person: str) -> None:
    ask_to_delete(site, chat, f"{person}-victim")
    chat.page.locator('a[href$="#system"]').click()
    expect(chat.page.locator(".nebula-panel")).to_contain_text("users_delete", timeout=ANSWER_MS)
    expect(chat.page.locator("[data-waiting]")).to_have_attribute("data-waiting", re.compile(r"\d"))
    chat.picture("chat-waiting")


def test_what_a_program_asked_is_decided_on_a_page_of_its_own(
    site: Site, chat: Chat, person: str
) -> None:
    site.person(f"{person}-victim")
    with site.rest(site.token(person)) as rest:
        asked = rest.post("/api/tools/users_delete", json={"user": f"{person}-victim"})
        assert asked.status_code == 202, asked.text
    chat.page.locator('a[href$="#system"]').click()
    decide = chat.page.locator(f'.nebula-panel a[href*="{asked.json()["approval_id"]}"]')
    decide.click(timeout=ANSWER_MS)
    expect(chat.page.get_by_role("cell", name=f"{person}-victim")).to_be_visible()
    chat.page.get_by_label("What should change").fill("Only lock the account")
    chat.page.get_by_label("What should change").press("Enter")
    expect(chat.page.get_by_text(f"Changes requested by {person}")).to_be_visible()
    assert chat.fits()
    assert f"{person}-victim" in people(site)


def test_what_weighs_most_takes_the_password_on_the_card(
    site: Site, signed_in: SignIn, person: str
) -> None:
    site.person(person, Role.ADMIN, password="correct horse 1")
    chat = signed_in(size=PHONE, theme="light", name=person)
    site.long_ago(person)
    ask_to_delete(site, chat, f"{person}-victim")
    card = chat.card()
    expect(card.get_by_role("button", name="Approve")).to_be_disabled()
    card.get_by_placeholder("Your password").fill("a wrong guess")
    card.get_by_role("button", name="Approve").click()
    expect(card.get_by_role("alert")).to_contain_text("wrong", timeout=ANSWER_MS)
    assert chat.fits()
    chat.picture("chat-approval-phone")
    card.get_by_placeholder("Your password").fill("correct horse 1")
    card.get_by_placeholder("Your password").press("Enter")
    expect(card).to_contain_text("Approved", timeout=ANSWER_MS)
    expect(chat.answer("was deleted")).to_be_visible(timeout=ANSWER_MS)
    assert f"{person}-victim" not in people(site)


def test_what_a_letter_asked_for_is_approved_by_somebody_else(
    site: Site, signed_in: SignIn, person: str
) -> None:
    chat = signed_in(size=PHONE)

    def thinks(request: ModelRequest) -> Reply:
        used = [one for one in request.messages if one.get("role") == "tool"]
        if not used:
            return call("sample_letter", {})
        return call("sample_burn", {"subject": "attic"}) if len(used) == 1 else say("It is burnt.")

    site.person(f"{person}-other", Role.ADMIN)
    with site.thinking(thinks), site.rest(site.token(f"{person}-other")) as other:
        chat.say("read the letter, and burn what it says")
        card = chat.card()
        expect(card).to_have_attribute("data-state", "pending", timeout=ANSWER_MS)
        expect(card.locator(".barred")).to_contain_text("somebody else with the permission")
        expect(card.get_by_role("button", name="Approve")).to_be_disabled()
        expect(card.get_by_role("button", name="Deny")).to_be_enabled()
        chat.settle()
        assert chat.fits()
        card.locator("footer").scroll_into_view_if_needed()
        chat.picture("chat-approval-second-person")
        answer = other.post(
            f"/api/approvals/{approval_id(chat)}/decide", json={"decision": "approve"}
        )
        assert answer.status_code == 200, answer.text
        expect(card).to_contain_text(f"by {person}-other over REST", timeout=ANSWER_MS)
        expect(chat.answer("It is burnt.")).to_be_visible(timeout=ANSWER_MS)


def test_after_five_clean_runs_the_panel_offers_to_stop_asking(
    site: Site, signed_in: SignIn, person: str
) -> None:
    chat = signed_in(theme="light")
    with site.rest(site.token(person)) as rest:
        for subject in ["lighthouse"] * 5 + ["windmill"] * 5:
            asked = rest.post("/api/tools/sample_hang", json={"subject": subject})
            assert asked.status_code == 202, asked.text
            yes = f"/api/approvals/{asked.json()['approval_id']}/decide"
            assert rest.post(yes, json={"decision": "approve"}).status_code == 200
            key = {"Idempotency-Key": asked.headers["Idempotency-Key"]}
            hung = rest.post("/api/tools/sample_hang", json={"subject": subject}, headers=key)
            assert hung.status_code == 200, hung.text
        chat.page.locator('a[href$="#system"]').click()
        offers = chat.page.get_by_role("group", name="Offer about you")
        expect(offers).to_have_count(2, timeout=ANSWER_MS)
        lighthouse = offers.filter(has_text="lighthouse")
        assert chat.fits()
        lighthouse.scroll_into_view_if_needed()
        chat.picture("trust-offer")
        offers.filter(has_text="windmill").get_by_role("button", name="Keep asking").click()
        expect(offers).to_have_count(1, timeout=ANSWER_MS)
        lighthouse.get_by_role("button", name="Allow for 30 days").click()
        expect(offers).to_have_count(0, timeout=ANSWER_MS)
        freely = rest.post("/api/tools/sample_hang", json={"subject": "lighthouse"})
        asks = rest.post("/api/tools/sample_hang", json={"subject": "windmill"})
    assert (freely.status_code, asks.status_code) == (200, 202)


def test_the_page_behind_a_link_hears_of_an_answer_elsewhere_at_once(
    site: Site, chat: Chat, person: str
) -> None:
    site.person(f"{person}-victim")
    with site.rest(site.token(person)) as rest:
        asked = rest.post("/api/tools/users_delete", json={"user": f"{person}-victim"})
        approval = asked.json()["approval_id"]
        chat.page.goto(f"{site.url}/api/approvals/{approval}/page")
        expect(chat.page.get_by_role("button", name="Approve")).to_be_enabled(timeout=ANSWER_MS)
        chat.picture("approval-page")
        expect(chat.page.locator("[data-until]")).to_have_text(re.compile(r"^\d:\d\d$"))
        rest.post(f"/api/approvals/{approval}/decide", json={"decision": "deny"})
        expect(chat.page.get_by_text(f"Denied by {person}")).to_be_visible(timeout=ANSWER_MS)
