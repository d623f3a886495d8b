"""A page on a slow line: what comes late or in another order loses nothing."""

from playwright.sync_api import Route, expect

from tests.ui.chat import ANSWER_MS, Chat

FIRST_COOKIE_LAST = """() => {
    const send = window.fetch;
    let asked = 0;
    window.fetch = async (...call) => {
        const answer = await send(...call);
        if (String(call[0]).endsWith("/set-session-cookie") && asked++ === 0) {
            await new Promise((done) => setTimeout(done, 1500));
            window.overtaken = true;
        }
        return answer;
    };
}"""


def test_a_session_opens_although_its_first_connection_is_overtaken(chat: Chat) -> None:
    chat.say("check GPU status")
    chat.settle()
    chat.page.add_init_script(f"({FIRST_COOKIE_LAST})()")
    chat.reload()
    chat.page.wait_for_function("window.overtaken")
    expect(chat.said("check GPU status")).to_be_visible(timeout=ANSWER_MS)
    chat.say("list services")
    expect(chat.tool("services_list")).to_be_visible(timeout=ANSWER_MS)
    chat.settle()
    chat.reload()
    expect(chat.said("list services")).to_be_visible(timeout=ANSWER_MS)


def test_what_is_typed_while_a_new_session_gets_its_address_stays(chat: Chat) -> None:
    held: list[Route] = []
    chat.page.route("**/project/threads", lambda route: held.append(route))
    chat.say("list services")
    expect(chat.tool("services_list")).to_be_visible(timeout=ANSWER_MS)
    chat.settle()
    assert chat.page.url.rstrip("/").count("/") == 2
    chat.page.locator("#chat-input").fill("check GPU status")
    for route in held:
        route.continue_()
    chat.page.wait_for_url("**/thread/*")
    expect(chat.page.locator("#chat-input")).to_have_value("check GPU status")
    chat.page.locator("#chat-submit").click()
    expect(chat.page.locator(".nebula-card.result").first).to_be_visible(timeout=ANSWER_MS)
