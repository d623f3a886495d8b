"""What a genuine delivery says: its kind, whether it is wanted, and what the sender wants back. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nebula.errors import InvalidInput
from tools.webhooks.signatures import Form, Signed

Value = str | int | float | bool
KIND = "kind"
"""The path of a filter that means what happened, wherever the form says it."""
_LONGEST_CHALLENGE = 1_000
_LONGEST_KIND = 80
_MISSING = object()


@dataclass(frozen=True)
class Said:
    """A delivery as it was read."""

    purpose: Literal["event", "challenge", "ended", "hello"]
    """Something happened, prove that you are there, nothing more will come, or only hello."""
    kind: str = ""
    challenge: str = ""
    problem: str = ""


def read(form: Form, signed: Signed, body: Mapping[str, Any]) -> Said:
    """Say what a delivery is, by what was signed of it and not by its headers.

    Raises:
        InvalidInput: for a challenge that is none, or numbers that no document can hold.
    """
    try:
        json.dumps(body, allow_nan=False)
    except ValueError as error:
        raise InvalidInput("The body holds a number that is too large") from error
    match form:
        case "twitch":
            return _twitch(body)
        case "github":
            return Said("hello" if "zen" in body and "hook_id" in body else "event", signed.kind)
        case "standard":
            return Said("event", _text(body.get("type")))


def wanted(where: Mapping[str, Value], said: Said, body: Mapping[str, Any]) -> bool:
    """Say whether every field of a filter has its value, of the same type."""
    return all(_same(_at(path, said, body), value) for path, value in where.items())


def _twitch(body: Mapping[str, Any]) -> Said:
    told = body.get("subscription")
    subscription = told if isinstance(told, dict) else {}
    kind, state = _text(subscription.get("type")), _text(subscription.get("status"))
    if "challenge" in body:
        challenge = body["challenge"]
        if not isinstance(challenge, str) or not 0 < len(challenge) <= _LONGEST_CHALLENGE:
            raise InvalidInput("The challenge is no text")
        return Said("challenge", kind, challenge=challenge)
    if state not in {"", "enabled"}:
        return Said("ended", kind, problem=f"Twitch ended the subscription: {state}")
    return Said("event", kind)


def _at(path: str, said: Said, body: Mapping[str, Any]) -> Any:
    if path == KIND:
        return said.kind
    found: Any = body
    for part in path.split("."):
        if not isinstance(found, dict) or part not in found:
            return _MISSING
        found = found[part]
    return found


def _same(found: Any, value: Value) -> bool:
    if isinstance(found, bool) or isinstance(value, bool):
        return found is value
    if isinstance(found, str) or isinstance(value, str):
        return bool(found == value)
    return isinstance(found, int | float) and found == value


def _text(value: Any) -> str:
    """Return a short word of the sender's, on one line."""
    return " ".join(value.split())[:_LONGEST_KIND] if isinstance(value, str) else ""
