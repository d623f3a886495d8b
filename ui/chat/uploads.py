"""Files dropped on the composer, handed to Jarvis."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from graphs.jarvis.attachments import Attachment

if TYPE_CHECKING:
    import chainlit as cl


async def attachments_of(message: "cl.Message") -> list[Attachment]:
    """Return a message's files with their content."""
    found = []
    for element in message.elements or []:
        if element.path:
            content = await asyncio.to_thread(Path(element.path).read_bytes)
            media_type = element.mime or "application/octet-stream"
            found.append(Attachment(name=element.name, media_type=media_type, content=content))
    return found
