"""The name of the cookie that holds a sign-in."""

from urllib.parse import urlsplit

COOKIE = "jarvis_session"
_SECURE = frozenset({"https", "wss"})


def is_secure(scheme: str, public_url: str) -> bool:
    """Say whether people reach this server through TLS, its own or a proxy's."""
    return not _SECURE.isdisjoint({scheme, urlsplit(public_url).scheme})


def cookie_name(scheme: str, public_url: str) -> str:
    """Return the cookie's name.

    Through TLS it begins with `__Host-`: browsers then refuse it from another host of the same
    domain, so that nobody there can put a sign-in of their own into somebody's browser.
    """
    return f"__Host-{COOKIE}" if is_secure(scheme, public_url) else COOKIE
