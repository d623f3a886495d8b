"""What is taken as signed: the published examples, and nothing that differs from them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nebula.errors import InvalidInput
from tests.fakes import hooks
from tools.webhooks.reading import read, wanted
from tools.webhooks.signatures import Form, Signed, key_of, made, verified

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
STANDARD = made("standard", bytes(range(32)))
PLAIN = "a-secret-of-thirty-two-plain-signs"


def test_the_example_of_standard_webhooks_is_genuine() -> None:
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v2,x v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    body, at = b'{"test": 2432232314}', datetime.fromtimestamp(1614265330, UTC)
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert verified("standard", headers, body, [secret], at) == Signed(headers["webhook-id"])
    later = at + timedelta(minutes=5, seconds=1)
    assert verified("standard", headers, body, [secret], later) is None


def test_the_example_of_github_is_genuine() -> None:
    digest = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    headers = {"x-hub-signature-256": f"sha256={digest}"}
    secret = "It's a Secret to Everybody"
    assert verified("github", headers, b"Hello, World!", [secret], NOW) is not None
    assert verified("github", headers, b"Hello, World?", [secret], NOW) is None


FORMS: list[tuple[Form, str, Any]] = [
    ("standard", STANDARD, hooks.standard),
    ("github", PLAIN, hooks.github),
    ("twitch", PLAIN, hooks.twitch),
]


@pytest.mark.parametrize(("form", "secret", "send"), FORMS, ids=["standard", "github", "twitch"])
def test_nothing_that_was_changed_is_genuine(form: Form, secret: str, send: Any) -> None:
    headers, body = send(secret, {"a": 1}) if form == "github" else send(secret, {"a": 1}, at=NOW)
    other = made(form, bytes(32))
    assert verified(form, headers, body, [secret], NOW)
    assert verified(form, headers, body, [other, secret], NOW), "the secret before works too"
    assert verified(form, headers, body + b" ", [secret], NOW) is None
    assert verified(form, headers, body, [other], NOW) is None
    assert verified(form, headers, body, [], NOW) is None
    assert verified(form, {}, body, [secret], NOW) is None
    for name, value in headers.items():
        if name in {"content-type", "x-github-event", "x-github-delivery"}:
            continue  # not signed: nothing is made of them but a name
        for wrong in (value[:-2], f"{value}0", "", "ü", value.replace("v1,", "v1a,") + "="):
            changed = {**headers, name: wrong}
            assert verified(form, changed, body, [secret], NOW) is None, (name, wrong)


@pytest.mark.parametrize(("form", "minutes"), [("standard", 5), ("twitch", 10)])
def test_what_is_too_old_or_too_new_is_not_taken(form: Form, minutes: int) -> None:
    secret, send = (STANDARD, hooks.standard) if form == "standard" else (PLAIN, hooks.twitch)
    for seconds, taken in ((-1, True), (1, False)):
        for sign in (-1, 1):
            at = NOW + sign * timedelta(minutes=minutes, seconds=seconds)
            headers, body = send(secret, {}, at=at)
            assert (verified(form, headers, body, [secret], NOW) is not None) is taken


def test_an_id_with_a_full_stop_is_refused_because_it_can_be_read_in_two_ways() -> None:
    headers, body = hooks.standard(STANDARD, {}, key="msg_1.5", at=NOW)
    assert verified("standard", headers, body, [STANDARD], NOW) is None


def test_of_github_the_same_body_is_the_same_delivery_whatever_its_unsigned_id() -> None:
    keys = set()
    for key in ("1", "2"):
        headers, body = hooks.github(PLAIN, {"ref": "main"}, key=key)
        found = verified("github", headers, body, [PLAIN], NOW)
        assert found is not None and found.kind == "push"
        keys.add(found.key)
    assert len(keys) == 1


def test_a_secret_has_to_fit_its_form() -> None:
    for form, wrong in (
        ("standard", "whsec_!!"),
        ("standard", "whsec_c2hvcnQ="),
        ("github", "short"),
        ("twitch", "x" * 101),
        ("twitch", "with-ümlauts-inside-it"),
    ):
        with pytest.raises(ValueError, match="it "):
            key_of(form, wrong)  # type: ignore[arg-type]
    for form in ("standard", "github", "twitch"):
        assert len(key_of(form, made(form, bytes(32)))) >= 32  # type: ignore[arg-type]


WANTED: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"kind": "stream.online"}, True),
    ({"kind": "stream.offline"}, False),
    ({"event.type": "live", "kind": "stream.online"}, True),
    ({"event.type": "rerun"}, False),
    ({"event.type.more": "live"}, False),
    ({"event.nothing": ""}, False),
    ({"n": 1}, True),
    ({"n": 1.0}, True),
    ({"n": "1"}, False),
    ({"n": True}, False),
    ({"yes": True}, True),
    ({"yes": 1}, False),
    ({"none": False}, False),
]


@pytest.mark.parametrize(("where", "found"), WANTED)
def test_a_filter_compares_fields_as_what_they_are(where: dict[str, Any], found: bool) -> None:
    body = {**hooks.went_live(), "n": 1, "yes": True, "none": None}
    assert wanted(where, read("twitch", Signed("k"), body), body) is found


def test_what_a_delivery_is_for_is_read_from_what_was_signed() -> None:
    online = hooks.went_live()
    assert read("twitch", Signed("k"), online).purpose == "event"
    asked = {**online, "challenge": "pogchamp"}
    assert read("twitch", Signed("k"), asked).challenge == "pogchamp"
    online["subscription"]["status"] = "authorization_revoked"
    ended = read("twitch", Signed("k"), online)
    assert ended.purpose == "ended" and "authorization_revoked" in ended.problem
    hello = read("github", Signed("k", "ping"), {"zen": "Keep it simple.", "hook_id": 1})
    assert (hello.purpose, hello.kind) == ("hello", "ping")
    assert read("standard", Signed("k"), {"type": " a\nb "}).kind == "a b"
    for body in ({**online, "challenge": 5}, {"n": float("inf")}):
        with pytest.raises(InvalidInput):
            read("twitch", Signed("k"), body)
