"""The stop button: it ends the turn itself, so that the session stays whole."""

from ui.chat import door


def install() -> None:
    """Replace Chainlit's handler, which would drop the drawing and leave the turn running."""
    from chainlit.server import sio

    sio.on("stop", handler=stopped)


async def stopped(socket_id: str) -> None:
    """Cancel what runs in the page's session; the turn then says itself that it stopped."""
    from chainlit.session import WebsocketSession

    page = WebsocketSession.get(socket_id)
    if page is None:
        return
    session_id = str(page.thread_id_to_resume or page.thread_id)
    await door.jarvis().cancel(await door.caller(session_id), session_id)
