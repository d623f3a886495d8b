"""Talking to Jarvis in a real browser: commands, results, plans, sessions, the stop button."""

from playwright.sync_api import expect

from tests.fakes.scripted import ModelRequest, Reply, call, calls, say, stall
from tests.ui.chat import ANSWER_MS, Chat
from tests.ui.site import Site


def test_check_gpu_status_shows_a_table_and_a_plot(chat: Chat) -> None:
    chat.say("check GPU status")
    expect(chat.page.locator(".nebula-card.result").first).to_contain_text(
        "RTX 3060", timeout=ANSWER_MS
    )
    expect(chat.page.locator(".js-plotly-plot").first).to_be_visible(timeout=ANSWER_MS)
    chat.settle()
    chat.tool("gpu_status").get_by_role("button").first.click()
    expect(chat.tool("gpu_status")).to_contain_text("RTX 3060")
    chat.picture("chat-gpu-status")


def test_a_switch_says_what_had_to_go_and_ends_with_the_service_loaded(chat: Chat) -> None:
    chat.say("switch to llama")
    chat.settle()
    chat.say("switch to Stable Diffusion")
    expect(chat.answer("SDXL is loaded")).to_be_visible(timeout=ANSWER_MS)
    expect(chat.answer("Unloaded llama3.1:8b")).to_be_visible()
    chat.settle()
    chat.page.locator('a[href$="#system"]').click()
    expect(chat.page.locator(".gpu").first.locator(".holds")).to_contain_text(
        "SDXL", timeout=ANSWER_MS
    )


def planned(request: ModelRequest) -> Reply:
    """Policy: plan two steps, do them, and tell."""
    done = sum(message["role"] == "tool" for message in request.messages)
    if done == 0:
        steps = {"steps": ["Look at the cards", "Give the studio card to Stable Diffusion"]}
        return calls(("plan", steps), ("gpu_status", {}))
    if done <= 2:
        return call("gpu_switch", {"service": "Stable Diffusion"})
    return say("Stable Diffusion has the **studio** card now, and llama made room for it.")


def test_a_request_of_several_steps_shows_its_plan_and_ends_done(site: Site, chat: Chat) -> None:
    with site.thinking(planned):
        chat.say("look at the GPU status, then switch the studio GPU to Stable Diffusion, please")
        expect(chat.page.locator(".tasklist")).to_contain_text(
            "Look at the cards", timeout=ANSWER_MS
        )
        expect(chat.answer("has the studio card now")).to_be_visible(timeout=ANSWER_MS)
        expect(chat.page.locator(".tasklist .task-status-done")).to_have_count(2)
        chat.settle()
    chat.picture("chat-plan")
    chat.reload()
    tasks = chat.page.locator(".tasklist")
    expect(tasks).to_contain_text("Give the studio card", timeout=ANSWER_MS)
    expect(tasks.locator(".task-status-done")).to_have_count(2)


def test_a_model_that_stalls_is_stopped_and_what_it_said_is_kept(site: Site, chat: Chat) -> None:
    with site.thinking(lambda _: stall("Let me think about this")):
        chat.say("write me a poem about graphics cards and their dreams")
        expect(chat.answer("Let me think")).to_be_visible(timeout=ANSWER_MS)
        chat.page.locator("#stop-button").click()
        expect(chat.answer("Stopped")).to_be_visible(timeout=ANSWER_MS)
    expect(chat.answer("Let me think")).to_be_visible()


def test_a_sentence_jarvis_does_not_know_offers_choices_that_can_be_clicked(chat: Chat) -> None:
    chat.say("show me the status")
    expect(chat.page.locator(".choices button").first).to_be_visible(timeout=ANSWER_MS)
    chat.settle()
    chat.page.locator(".choices button").first.click()
    expect(chat.page.locator('[data-step-type="user_message"]')).to_have_count(2)
    chat.settle()


def test_a_starter_of_the_empty_page_says_it(chat: Chat) -> None:
    starters = chat.page.locator("#starters button")
    expect(starters.first).to_be_enabled(timeout=ANSWER_MS)
    assert 3 <= starters.count() <= 6
    text = starters.first.inner_text()
    starters.first.click()
    expect(chat.said(text)).to_be_visible()
    chat.settle()


def test_typing_a_slash_lists_the_tools_and_runs_the_one_picked(chat: Chat) -> None:
    chat.page.locator("#chat-input").fill("/gpu_sta")
    chat.page.get_by_text("gpu_status", exact=True).first.click()
    chat.page.locator("#chat-submit").click()
    expect(chat.page.locator(".nebula-card.result").first).to_be_visible(timeout=ANSWER_MS)


def test_a_session_survives_a_reload_and_goes_on(chat: Chat) -> None:
    chat.say("check GPU status")
    chat.settle()
    chat.reload()
    expect(chat.said("check GPU status")).to_be_visible()
    expect(chat.page.locator(".js-plotly-plot").first).to_be_visible(timeout=ANSWER_MS)
    # Once, although the turn that said it may still be remembered.
    cards = chat.page.locator(".ai-message .nebula-card.result", has_text="On the card")
    expect(cards.filter(has_text="RTX 3060")).to_have_count(1)
    chat.say("list services")
    chat.settle()
    expect(chat.page.locator('[data-step-type="user_message"]')).to_have_count(2)


def test_an_old_session_is_found_renamed_and_deleted_in_the_sidebar(chat: Chat) -> None:
    chat.say("check GPU status")
    chat.settle()
    chat.page.wait_for_url("**/thread/*")
    chat.page.locator("#new-chat-button").click()
    expect(chat.page.locator("#welcome-screen")).to_be_visible()
    history = chat.page.locator("#thread-history")
    history.get_by_text("check GPU status").click()
    expect(chat.page.locator(".nebula-card.result").first).to_be_visible(timeout=ANSWER_MS)

    history.locator("#thread-options").first.click()
    chat.page.locator("#rename-thread").click()
    chat.page.locator("input#name").fill("Cards this morning")
    chat.page.get_by_role("dialog").get_by_role("button", name="Confirm").click()
    expect(history.get_by_text("Cards this morning")).to_be_visible()

    chat.page.locator("#search-chats-button").click()
    chat.page.get_by_placeholder("Search").fill("morning")
    expect(chat.page.get_by_role("dialog").get_by_text("Cards this morning")).to_be_visible()
    chat.page.keyboard.press("Escape")

    history.locator("#thread-options").first.click()
    chat.page.locator("#delete-thread").click()
    chat.page.get_by_role("alertdialog").get_by_role("button", name="Confirm").click()
    expect(history.get_by_text("Cards this morning")).to_have_count(0)


def test_the_stop_button_ends_a_long_call_and_the_session_goes_on(chat: Chat) -> None:
    chat.say("load glacier on attic")
    expect(chat.tool("gpu_load")).to_be_visible(timeout=ANSWER_MS)
    chat.page.locator("#stop-button").click()
    expect(chat.answer("Stopped")).to_be_visible(timeout=ANSWER_MS)
    chat.say("list services")
    expect(chat.tool("services_list")).to_be_visible(timeout=ANSWER_MS)
    chat.settle()


def test_a_turn_that_runs_during_a_reload_is_followed_again(chat: Chat) -> None:
    chat.say("load glacier on attic")
    expect(chat.tool("gpu_load")).to_be_visible(timeout=ANSWER_MS)
    chat.reload()
    expect(chat.tool("gpu_load")).to_be_visible(timeout=ANSWER_MS)
    chat.page.locator("#stop-button").click()
    expect(chat.answer("Stopped")).to_be_visible(timeout=ANSWER_MS)


def test_the_system_panel_shows_cards_services_and_what_waits(chat: Chat) -> None:
    chat.page.locator('a[href$="#system"]').click()
    panel = chat.page.locator(".nebula-panel")
    expect(panel.locator(".gpu")).to_have_count(2, timeout=ANSWER_MS)
    expect(panel.locator(".gpu").first).to_contain_text("simulated")
    expect(panel.get_by_text("comfyui")).to_be_visible()
    expect(panel.get_by_role("heading", name="Waiting for you")).to_be_visible()
    expect(panel.get_by_text("Nothing runs or waits.")).to_be_visible()


def test_a_session_is_made_one_for_looking_only_and_back(chat: Chat) -> None:
    chat.say("check GPU status")
    chat.settle()
    chat.page.locator('a[href$="#system"]').click()
    switch = chat.page.get_by_role("switch", name="Only look")
    switch.click(timeout=ANSWER_MS)
    expect(switch).to_be_checked()
    chat.say("switch to llama")
    expect(chat.answer("only looks here: gpu_switch needs")).to_be_visible(timeout=ANSWER_MS)
    chat.picture("chat-only-look")
    switch.click()
    expect(switch).not_to_be_checked()
    chat.say("switch to llama")
    expect(chat.answer("llama3.1:8b is")).to_be_visible(timeout=ANSWER_MS)
