"""The text that sets up the agent on another machine with one paste."""

import asyncio
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from nebula.errors import InvalidInput
from nebula.packages import checkout
from nebula.services.nodes.parcel import parcel
from nebula.services.nodes.place import private
from node.protocol import NAME_PATTERN

System = Literal["linux", "windows"]
_FILES = {"linux": "node-bootstrap.sh", "windows": "node-bootstrap.ps1"}
_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]_-]+(/[A-Za-z0-9._/-]*)?")


@dataclass(frozen=True)
class Script:
    """A script to paste, and what is worth knowing about it."""

    text: str
    note: str


def checked_link(link: str) -> tuple[str, str]:
    """Return the address that machines join at, and a note when only this machine reaches it.

    Raises:
        InvalidInput: when a join token would travel over plain HTTP.
    """
    host = urlsplit(link).hostname or ""
    if not _URL.fullmatch(link):
        raise InvalidInput(f"{link[:100]!r} is no address to join at")
    if link.startswith("http://") and not private(host):
        raise InvalidInput(
            f"{host} would get secrets over plain HTTP",
            hint="Set JARVIS_PUBLIC_URL to an https address, or to this machine's Tailscale address.",
        )
    if link.startswith("http://") and (
        host == "localhost" or host.startswith("127.") or host == "::1"
    ):
        return link.rstrip("/"), (
            f"{link} is reached from this machine only. For another machine, let Jarvis listen on "
            "its Tailscale address: JARVIS_HOST and JARVIS_PUBLIC_URL."
        )
    return link.rstrip("/"), ""


async def script(system: System, link: str, token: str, *, name: str = "", port: int) -> Script:
    """Fill the template of a system with where to join and with what.

    Raises:
        InvalidInput: when the address or the name will not do.
    """
    url, note = checked_link(link)
    if name and not re.fullmatch(NAME_PATTERN, name):
        raise InvalidInput(
            f"{name[:60]!r} cannot name a machine",
            hint="Use up to 40 small letters, digits and hyphens, like gaming-pc.",
        )
    file = checkout() / "deploy" / _FILES[system]
    text = await asyncio.to_thread(file.read_text, "utf-8")
    values = {
        "JARVIS_URL": url,
        "JOIN_TOKEN": token,
        "NODE_NAME": name,
        "NODE_PORT": str(port),
        "AGENT_SHA256": (await parcel()).sha256,
    }
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    if system == "linux":
        # In a shell of its own: a step that fails must not close the terminal it is pasted into.
        text = f"bash <<'NEBULA_NODE'\n{text}NEBULA_NODE\n"
    return Script(text, note)
