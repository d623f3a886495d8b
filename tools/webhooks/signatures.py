"""What a sender signed, in the three forms there are. Pure.

- standard: Standard Webhooks 1.0. HMAC-SHA256 of `{id}.{timestamp}.{body}` with the bytes behind
  `whsec_`, as `v1,` and base64; a header may hold several, with spaces between.
- github: HMAC-SHA256 of the body, as `sha256=` and hex. Neither an id nor a time is signed, so
  the body itself tells one delivery from another.
- twitch: HMAC-SHA256 of id, timestamp and body one after the other, as `sha256=` and hex.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

Form = Literal["standard", "github", "twitch"]
Headers = Mapping[str, str]
"""By names in small letters."""

_STANDARD_PREFIX = "whsec_"
_TOLERANCE = timedelta(minutes=5)
_TWITCH_TOLERANCE = timedelta(minutes=10)
"""As Twitch says in "Handling webhook events"."""
# A full stop in an id would let one signature stand for two readings of the same bytes.
_ID = re.compile(r"[!-\-/-~]{1,200}")
_SECONDS = re.compile(r"[0-9]{1,12}")
_KIND = re.compile(r"[a-z0-9_.-]{1,80}")
_MOST_SIGNATURES = 10


@dataclass(frozen=True)
class Signed:
    """A delivery that was signed with one of the secrets, and in time."""

    key: str
    """The same for every attempt at the same delivery."""
    kind: str = ""
    """What its headers call it; empty where the body says so."""


def verified(
    form: Form, headers: Headers, body: bytes, secrets: Sequence[str], now: datetime
) -> Signed | None:
    """Return what was signed, or None: for every reason the same, and after the same work."""
    return _FORMS[form](headers, body, secrets, now)


def key_of(form: Form, secret: str) -> bytes:
    """Return the bytes that a secret signs with.

    Raises:
        ValueError: when it is none of that form.
    """
    if form == "standard":
        try:
            key = base64.b64decode(secret.removeprefix(_STANDARD_PREFIX), validate=True)
        except binascii.Error as error:
            raise ValueError("it is not base64 behind whsec_") from error
        if not 24 <= len(key) <= 64:
            raise ValueError("it has to hold 24 to 64 bytes, as base64 behind whsec_")
        return key
    if not (secret.isascii() and secret.isprintable() and 16 <= len(secret) <= 100):
        raise ValueError("it has to have 16 to 100 plain characters")
    return secret.encode()


def made(form: Form, key: bytes) -> str:
    """Write 32 random bytes as a secret of a form."""
    if form == "standard":
        return _STANDARD_PREFIX + base64.b64encode(key).decode()
    return key.hex()


def _standard(
    headers: Headers, body: bytes, secrets: Sequence[str], now: datetime
) -> Signed | None:
    key, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    said = headers.get("webhook-signature", "").split(" ")[:_MOST_SIGNATURES]
    macs = _macs("standard", secrets, f"{key}.{sent}.".encode() + body)
    right = [base64.b64encode(mac).decode() for mac in macs]
    genuine = _any(right, [each.removeprefix("v1,") for each in said if each.startswith("v1,")])
    at = datetime.fromtimestamp(int(sent), UTC) if _SECONDS.fullmatch(sent) else None
    return _signed(genuine, key, at, now, _TOLERANCE)


def _github(headers: Headers, body: bytes, secrets: Sequence[str], _now: datetime) -> Signed | None:
    right = [f"sha256={mac.hex()}" for mac in _macs("github", secrets, body)]
    if not _any(right, [headers.get("x-hub-signature-256", "")]):
        return None
    kind = headers.get("x-github-event", "")
    return Signed(hashlib.sha256(body).hexdigest(), kind if _KIND.fullmatch(kind) else "")


def _twitch(headers: Headers, body: bytes, secrets: Sequence[str], now: datetime) -> Signed | None:
    key = headers.get("twitch-eventsub-message-id", "")
    sent = headers.get("twitch-eventsub-message-timestamp", "")
    right = [
        f"sha256={mac.hex()}" for mac in _macs("twitch", secrets, f"{key}{sent}".encode() + body)
    ]
    genuine = _any(right, [headers.get("twitch-eventsub-message-signature", "")])
    return _signed(genuine, key, _moment(sent), now, _TWITCH_TOLERANCE)


_FORMS: Mapping[Form, Callable[[Headers, bytes, Sequence[str], datetime], Signed | None]] = {
    "standard": _standard,
    "github": _github,
    "twitch": _twitch,
}


def _macs(form: Form, secrets: Sequence[str], signed: bytes) -> list[bytes]:
    return [hmac.digest(key_of(form, secret), signed, hashlib.sha256) for secret in secrets]


def _any(right: Sequence[str], said: Sequence[str]) -> bool:
    """Compare each with each, all of them whatever the first ones gave."""
    found = [hmac.compare_digest(a.encode(), b.encode()) for a in right for b in said]
    return any(found)


def _signed(
    genuine: bool, key: str, at: datetime | None, now: datetime, tolerance: timedelta
) -> Signed | None:
    if not genuine or at is None or abs(now - at) > tolerance or not _ID.fullmatch(key):
        return None
    return Signed(key)


def _moment(text: str) -> datetime | None:
    """Read RFC 3339; what is finer than a microsecond is left out."""
    try:
        found = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
