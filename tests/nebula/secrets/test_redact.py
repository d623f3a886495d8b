"""Redaction: every form of a value, in any text or document."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
from langchain_core.messages import AIMessage
from pydantic import BaseModel, SecretStr

from nebula.errors import InvalidInput, StoredError, UpstreamRejected
from nebula.llm.provider import Prompt
from nebula.log import redact
from nebula.secrets.redact import HIDDEN, LIVE, Redactor, secrets_in
from nebula.settings import Settings
from tests.canary import ENCODINGS

SECRET = 'k3y/"Ünï<&+ $one'


@pytest.fixture
def redactor() -> Redactor:
    made = Redactor()
    made.know("test", [SECRET])
    return made


@pytest.fixture
def live() -> Any:
    LIVE.know("test", [SECRET])
    yield
    LIVE.forget("test")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("around", ["{}", "before {} after", "x{}", "xy{}z", "é{}"])
def test_a_secret_is_hidden_in_every_encoding_wherever_it_stands(
    redactor: Redactor, encoding: str, around: str
) -> None:
    """What was encoded together with text around it is found too."""
    for text in (
        around.format(ENCODINGS[encoding](SECRET)),
        ENCODINGS[encoding](around.format(SECRET)),
    ):
        hidden = redactor.text(text)
        assert HIDDEN in hidden
        assert not redactor.found(hidden)
        assert len(text) - len(hidden) + len(HIDDEN) >= len(SECRET) - 2


def test_overlapping_secrets_leave_nothing_between_them() -> None:
    redactor = Redactor()
    redactor.know("test", ["abcd-efgh-1", "efgh-1-ijkl", "efgh-1-i"])
    assert redactor.text("xabcd-efgh-1-ijkly") == f"x{HIDDEN}y"
    assert redactor.text("abcd-efgh-1abcd-efgh-1") == HIDDEN


def test_parts_of_addresses_and_keys_are_secret_by_themselves_but_not_what_is_public() -> None:
    redactor = Redactor()
    pem = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nabcdefghijklmnopqrst99\n-----END KEY-----"
    webhook = "https://discord.com/api/webhooks/123456789012/tok-en_of-the-webhook-1234567"
    redactor.know("test", [pem, webhook, "mailtos://me:p%40ssw0rd-long@mail.example.org?to=a@b.c"])
    assert redactor.text("log: MIIEvQIBADANBgkqhkiG9w0") == f"log: {HIDDEN}"
    assert redactor.text("got tok-en_of-the-webhook-1234567!") == f"got {HIDDEN}!"
    assert redactor.text("login p@ssw0rd-long failed") == f"login {HIDDEN} failed"
    public = "https://discord.com/api/webhooks, mail.example.org, -----BEGIN KEY-----"
    assert redactor.text(public) == public


def test_short_values_are_left_alone_and_a_source_can_be_forgotten() -> None:
    redactor = Redactor()
    redactor.know("a", ["1234567"])
    assert redactor.text("1234567") == "1234567"
    redactor.know("a", ["12345678"])
    redactor.know_also("b", "12345678", "87654321")
    redactor.forget("a")
    assert redactor.text("12345678 87654321") == f"{HIDDEN} {HIDDEN}"
    redactor.forget("b")
    assert redactor.text("12345678") == "12345678"


class Inner(BaseModel):
    note: str
    number: int = 1


class Outer(BaseModel):
    inner: list[Inner]
    table: dict[str, Any]
    raw: bytes = b""
    masked: SecretStr = SecretStr("kept")


@dataclass(frozen=True)
class Plain:
    text: str


def test_documents_keep_their_shape_and_clean_ones_are_the_same_object(redactor: Redactor) -> None:
    redactor.know_also("test", "1234567890")
    model = Outer(
        inner=[Inner(note=f"see {SECRET}"), Inner(note="clean")],
        table={SECRET: [1234567890, (SECRET, True)], "more": {"deep": {SECRET}}},
        raw=f"bytes {SECRET}".encode(),
    )
    clean = redactor.model(model)
    assert clean.inner[0].note == f"see {HIDDEN}"
    assert clean.inner[1] is model.inner[1]
    assert clean.table == {HIDDEN: [HIDDEN, (HIDDEN, True)], "more": {"deep": {HIDDEN}}}
    assert clean.raw == f"bytes {HIDDEN}".encode()
    assert clean.masked is model.masked
    assert redactor.value(Plain(SECRET)) == Plain(HIDDEN)
    same = Outer(inner=[Inner(note="a")], table={"b": 1})
    assert redactor.model(same) is same
    assert redactor.value("\ud800 lone " + SECRET).endswith(HIDDEN)


def test_errors_never_hold_a_secret_whatever_an_outside_system_said(live: None) -> None:
    error = UpstreamRejected(f"It said: {SECRET}", hint=f"Not {quote(SECRET)}")
    assert not LIVE.found(json.dumps(error.payload()) + str(error) + repr(error))
    wrong = InvalidInput("no", fields=[{"field": "a", "problem": SECRET}])
    assert not LIVE.found(json.dumps(wrong.payload()))
    stored = StoredError({"code": "conflict", "detail": SECRET, "fields": [SECRET]})
    assert not LIVE.found(json.dumps(stored.payload()))


def test_logs_hide_secrets_in_names_values_and_nested_things(live: None) -> None:
    line = redact(
        None, "info", {"event": f"got {SECRET}", "more": {"list": [SECRET.encode().hex()]}}
    )
    assert not LIVE.found(str(line))
    assert "got [hidden]" in str(line)


def test_a_model_is_told_no_secret_in_messages_or_the_calls_they_hold(live: None) -> None:
    called = {"name": "t", "args": {"a": [SECRET]}, "id": "1", "type": "tool_call"}
    messages = [AIMessage([{"type": "text", "text": f"it is {SECRET}"}], tool_calls=[called])]
    prompt = Prompt(messages, [{"function": {"name": "t"}}])
    hidden = prompt.hidden()
    assert hidden.messages[0].text == "it is [hidden]"
    assert hidden.messages[0].tool_calls[0]["args"] == {"a": ["[hidden]"]}
    assert prompt.messages[0].text == f"it is {SECRET}"
    assert not LIVE.found(json.dumps([m.model_dump() for m in hidden.messages]))


def test_passwords_inside_addresses_of_settings_are_secrets_unless_they_are_names() -> None:
    settings = Settings(
        _env_file=None,
        openai_api_key=SecretStr("sk-of-the-settings"),
        database_url="postgresql://postgres:postgres@db/nebula",
        redis_url="redis://:redis-pass-word@cache/0",
    )
    assert secrets_in(settings) == ["redis-pass-word", "sk-of-the-settings"]
