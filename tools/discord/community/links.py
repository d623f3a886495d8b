"""Which places a message points to."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

_ADDRESS = re.compile(r"(?i)\b(?:https?://|www\.)[^\s<>]+")
_BARE = re.compile(r"(?i)(?<![\w@.-])(?:[\w-]+\.)+[a-z]{2,24}(?:/[^\s<>]*)?")
_INVITES = {"discord.gg", "discord.me", "discord.li"}
_INVITE_PATHS = {"discord.com", "discordapp.com"}


def addresses(text: str) -> Iterator[tuple[str, str]]:
    """Yield host and path of every address that Discord makes clickable."""
    for found in _ADDRESS.findall(_flat(text)):
        if (place := _place(found)) is not None:
            yield place


def mentioned(text: str) -> Iterator[tuple[str, str]]:
    """Yield host and path of everything that reads like an address, clickable or not."""
    yield from addresses(text)
    for found in _BARE.findall(_flat(text)):
        if (place := _place(found)) is not None:
            yield place


def is_invite(text: str) -> bool:
    """Say whether a text invites to a Discord server."""
    for host, path in mentioned(text):
        if host in _INVITES and path.strip("/"):
            return True
        if host in _INVITE_PATHS and path.startswith("/invite/"):
            return True
    return False


def below(host: str, domains: Sequence[str]) -> bool:
    """Say whether a host is one of the domains or inside one."""
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)


def _flat(text: str) -> str:
    return unicodedata.normalize("NFKC", text).replace("\u200b", "")


def _place(address: str) -> tuple[str, str] | None:
    whole = address if "://" in address else f"https://{address}"
    try:
        parts = urlsplit(whole)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return None
    return (host.removeprefix("www."), parts.path) if host else None
