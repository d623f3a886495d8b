"""Random tokens and ids. A token has 256 random bits, so a plain SHA-256 protects it at rest."""

import hashlib
import secrets

KEY_PREFIX = "jk_"
SHOWN = 11
"""How much of an API key is kept readable, to tell keys apart."""


def new_id(kind: str) -> str:
    """Return a fresh id such as `usr_6f…`."""
    return f"{kind}_{secrets.token_hex(10)}"


def new_token() -> str:
    """Return 256 random bits as text that is safe in URLs and as an argument of a command."""
    return secrets.token_hex(32)  # no "-" in front, which a terminal would read as an option


def new_key() -> str:
    """Return a fresh API key."""
    return KEY_PREFIX + secrets.token_hex(32)


def digest(token: str) -> str:
    """Return the form a token is stored and looked up in."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
