"""The web chat: Chainlit's callbacks, each handing over to one concept in `ui.chat`."""

from typing import Any

import chainlit as cl
from chainlit.types import ThreadDict

from ui.chat import beside, calls, decisions, door, jobs, offers, panel, stop, talk, watch
from ui.chat.history import History
from ui.chat.icons import picture_of

stop.install()


@cl.data_layer
def history() -> History:
    """Read sessions from our own store."""
    return History()


@cl.password_auth_callback
async def sign_in_is_elsewhere(_name: str, _password: str) -> None:
    """Tell Chainlit that signing in is needed; the gate and the sign-in page do it."""


@cl.set_starters
async def starters(_user: cl.User | None) -> list[cl.Starter]:
    """Offer a few things to say on the empty page."""
    said = offers.starters(offers.tools_for(await door.me()))
    return [cl.Starter(label=text, message=text, icon=picture_of(f)) for text, f in said]


@cl.on_chat_start
async def page_opened() -> None:
    """Make a new page ready."""
    await _prepare()


@cl.on_chat_resume
async def session_reopened(thread: ThreadDict) -> None:
    """Make a reopened session ready, and go on with a turn that still runs in it."""
    await _prepare()
    talk.follow_after_resume(thread["id"])


async def _prepare() -> None:
    watch.start()
    tools = offers.tools_for(await door.me())
    await cl.context.emitter.set_commands(offers.commands(tools))  # type: ignore[arg-type]


@cl.on_message
async def said(message: cl.Message) -> None:
    """Answer a message."""
    await talk.answer(message)


@cl.on_window_message
async def window_said(message: Any) -> None:
    """Open the system panel when the page's button asks for it."""
    if message == panel.OPEN:
        await panel.open_beside()


@cl.action_callback("decide")
async def decided(action: cl.Action) -> dict[str, Any]:
    """Take an approval card's answer."""
    return await decisions.decide(action.payload)


@cl.action_callback("job_ended")
async def job_ended(action: cl.Action) -> None:
    """Show what a job made, when its card saw it end."""
    await jobs.show_result(action.payload)


@cl.action_callback("resume")
async def decided_elsewhere(action: cl.Action) -> None:
    """Go on after an approval was decided through another door."""
    await decisions.decided_elsewhere(action.payload)


@cl.action_callback("call")
async def called(action: cl.Action) -> dict[str, Any]:
    """Make the tool call of an element's button."""
    return await calls.call(action.payload)


@cl.action_callback("ask")
async def asked_again(action: cl.Action) -> None:
    """Show the card of an approval that the page lost while it reconnected."""
    await calls.ask(str(action.payload.get("id")))


@cl.action_callback("beside")
async def opened_beside(action: cl.Action) -> None:
    """Open a part of the page beside the chat."""
    await beside.show(action.payload)
