import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from nebula.log import bound, configure_logging, hide_secrets


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def _lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_every_line_is_json_with_level_logger_and_utc_time(out: io.StringIO) -> None:
    configure_logging("json", stream=out)
    structlog.get_logger("ours").info("started", port=8420)
    logging.getLogger("theirs").warning("slow: %s", "disk")
    ours, theirs = _lines(out)
    assert (ours["event"], ours["logger"], ours["level"], ours["port"]) == (
        "started",
        "ours",
        "info",
        8420,
    )
    assert theirs["event"] == "slow: disk"
    assert str(theirs["timestamp"]).endswith("Z")


def test_ids_are_on_every_line_inside_and_on_none_after(out: io.StringIO) -> None:
    configure_logging("json", stream=out)
    log = structlog.get_logger()
    with bound(request_id="r1", call_id=None):
        log.info("inside")
        logging.getLogger("theirs").warning("also inside")
    log.info("after")
    inside, theirs, after = _lines(out)
    assert inside["request_id"] == theirs["request_id"] == "r1"
    assert "call_id" not in inside
    assert "request_id" not in after


@pytest.mark.parametrize(
    "fields",
    [
        {"password": "hunter2hunter2"},
        {"OPENAI_API_KEY": "hunter2hunter2"},
        {"headers": {"Authorization": "Bearer hunter2hunter2"}},
        {"args": [{"client_secret": "hunter2hunter2"}]},
        {"url": "postgresql://nebula:hunter2hunter2@db/nebula"},
        {"note": "sent Bearer hunter2hunter2 along"},
        {"note": "the key is sk-hunter2hunter2"},
        {"error": RuntimeError("redis://:hunter2hunter2@cache:6379 refused")},
    ],
)
@pytest.mark.parametrize("style", ["json", "console"])
def test_no_secret_reaches_the_log(out: io.StringIO, style: str, fields: dict[str, object]) -> None:
    configure_logging(style, stream=out)  # type: ignore[arg-type]
    structlog.get_logger().warning("called", **fields)
    assert "called" in out.getvalue()
    assert "hunter2hunter2" not in out.getvalue()


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_traceback_is_logged_without_the_secrets_in_it(out: io.StringIO, style: str) -> None:
    configure_logging(style, stream=out)  # type: ignore[arg-type]
    try:
        raise RuntimeError("cannot reach postgresql://nebula:hunter2@db/nebula")
    except RuntimeError:
        structlog.get_logger().exception("failed")
        logging.getLogger("theirs").exception("failed too")
    assert out.getvalue().count("RuntimeError") >= 2
    assert "hunter2" not in out.getvalue()


def test_ordinary_words_stay_readable() -> None:
    text = "tokens per second: 42; see https://example.test:8420/path; the keyboard is fine"
    assert hide_secrets(text) == text


def test_counts_of_tokens_are_not_taken_for_secrets(out: io.StringIO) -> None:
    configure_logging("json", stream=out)
    structlog.get_logger().info("turn", prompt_tokens=12, monkey="banana")
    assert _lines(out)[0]["prompt_tokens"] == 12
    assert _lines(out)[0]["monkey"] == "banana"
