"""Parts of the page beside the chat: an element opens another one there."""

from collections.abc import Mapping
from typing import Any

from nebula.tool.result import Live
from ui.chat import elements
from ui.chat.screen import Element

_LONGEST = 80


async def show(payload: Mapping[str, Any]) -> None:
    """Open what `view` and `of` name; what the page does not know is left alone."""
    view, of = str(payload.get("view")), str(payload.get("of") or "")[:_LONGEST]
    if view not in elements.LIVE:
        return
    title = str(payload.get("title") or "")[:_LONGEST]
    part = elements.live(Live(view=view, of=of, blocks=[]), f"beside-{view}-{of}")
    await put(title, {**part, "forId": ""}, key=f"{view}:{of}")


async def put(title: str, part: Element, *, key: str) -> None:
    """Draw an element beside the chat of the page in context."""
    from chainlit.context import context

    await context.emitter.emit("set_sidebar_title", title)
    data = {"elements": [{**part, "display": "side"}], "key": key}
    await context.emitter.emit("set_sidebar_elements", data)
