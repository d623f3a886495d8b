"""Senders of webhooks: they sign as Standard Webhooks, GitHub and Twitch say."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

JSON = {"content-type": "application/json"}
Sent = tuple[dict[str, str], bytes]


def standard(secret: str, body: Any, key: str = "msg_1", at: datetime | None = None) -> Sent:
    """Sign as Standard Webhooks 1.0 says."""
    raw, sent = _raw(body), str(int((at or datetime.now(UTC)).timestamp()))
    bytes_of = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(bytes_of, f"{key}.{sent}.".encode() + raw, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(mac).decode()}"
    return {
        **JSON,
        "webhook-id": key,
        "webhook-timestamp": sent,
        "webhook-signature": signature,
    }, raw


def github(secret: str, body: Any, event: str = "push", key: str = "1") -> Sent:
    """Sign as GitHub does."""
    raw = _raw(body)
    mac = hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()
    return {
        **JSON,
        "x-github-event": event,
        "x-github-delivery": key,
        "x-hub-signature-256": f"sha256={mac}",
    }, raw


def twitch(secret: str, body: Any, key: str = "t-1", at: datetime | None = None) -> Sent:
    """Sign as Twitch EventSub does; its times have nanoseconds."""
    raw = _raw(body)
    sent = f"{at or datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}123Z"
    mac = hmac.new(secret.encode(), f"{key}{sent}".encode() + raw, hashlib.sha256).hexdigest()
    return {
        **JSON,
        "twitch-eventsub-message-id": key,
        "twitch-eventsub-message-timestamp": sent,
        "twitch-eventsub-message-signature": f"sha256={mac}",
    }, raw


def went_live(name: str = "streamer") -> dict[str, Any]:
    """Return what Twitch tells when a channel goes live."""
    return {
        "subscription": {"id": "f1", "type": "stream.online", "version": "1", "status": "enabled"},
        "event": {"id": "9", "broadcaster_user_id": "1337", "broadcaster_user_name": name, "broadcaster_user_login": "streamer",
                  "type": "live", "started_at": "2026-11-30T10:11:12.123Z"},
    }  # fmt: skip


def _raw(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()
