"""Posts embeds to Discord webhooks.

Discord's answers: 200 with the message (asked for by ?wait=true), 429 with `retry_after`
seconds, 4xx with {code, message}. https://discord.com/developers/docs/resources/webhook
"""

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx

from nebula.markup.mentions import unmentioned
from tools.notify.addresses import Webhook
from tools.notify.schemas import Level, Message, Outcome

_COLOURS = {
    Level.ALERT: 0xE5484D,
    Level.WARNING: 0xF5A524,
    Level.SUCCESS: 0x30A46C,
    Level.INFO: 0x3E63DD,
}
_SECONDS = 10.0
_PATIENCE = 3.0
"""Seconds to wait for Discord's rate limit; a longer wait is told instead."""

_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
)


async def post(
    http: httpx.AsyncClient, webhook: Webhook, message: Message, seconds: float = _SECONDS
) -> tuple[Outcome, str]:
    """Post one message and say what became of it; a lost answer is unknown, never repeated."""
    for attempt in range(2):
        try:
            response = await http.post(
                webhook.url, params={"wait": "true"}, json=_payload(message), timeout=seconds
            )
        except _NEVER_SENT as error:
            return Outcome.FAILED, f"Discord cannot be reached ({type(error).__name__})"
        except httpx.TransportError as error:
            return Outcome.UNKNOWN, f"Discord did not answer ({type(error).__name__})"
        if response.status_code != 429:
            return _told(response)
        wait = _retry_after(response)
        if attempt or wait > _PATIENCE:
            return Outcome.FAILED, f"Discord limits the rate; try again in {wait:.0f} s"
        # Refused for its rate, so it was not posted: the one case that is safe to repeat.
        await asyncio.sleep(wait)
    raise AssertionError("unreachable")


def _payload(message: Message) -> dict[str, Any]:
    embed = {
        "title": unmentioned(message.title)[:256],
        "description": unmentioned(message.body)[:4096],
        "color": _COLOURS[message.level],
        "timestamp": datetime.now(UTC).isoformat(),
        "footer": {"text": "Jarvis"},
        "fields": [
            {
                "name": unmentioned(name)[:256] or "–",
                "value": unmentioned(value)[:1024] or "–",
                "inline": True,
            }
            for name, value in list(message.fields.items())[:25]
        ],
    }
    # Nobody is pinged by what a message happens to say; and without `content` there is no text
    # whose addresses Discord would fetch to preview them.
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def _told(response: httpx.Response) -> tuple[Outcome, str]:
    status = response.status_code
    if response.is_success:
        number = _field(response, "id")
        if number:
            return Outcome.SENT, f"message {number}"
        return Outcome.UNKNOWN, "Discord said yes, but named no message"
    if status >= 500:
        return Outcome.UNKNOWN, f"Discord had an error ({status})"
    if status in (401, 403, 404):
        return Outcome.FAILED, f"The webhook is gone or not allowed ({status})"
    return Outcome.FAILED, f"Discord refused it ({status}): {_field(response, 'message')[:120]}"


def _retry_after(response: httpx.Response) -> float:
    for value in (_field(response, "retry_after"), response.headers.get("retry-after", "")):
        try:
            return max(0.0, float(value))
        except ValueError:
            continue
    return _PATIENCE + 1


def _field(response: httpx.Response, name: str) -> str:
    try:
        body = response.json()
    except ValueError:
        return ""
    return str(body.get(name, "")) if isinstance(body, dict) else ""
