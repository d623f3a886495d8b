"""Logging of the whole program: structlog, for people or as JSON, never with a secret in it."""

import logging
import re
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from nebula.markup.text import visible
from nebula.secrets.redact import hide

_HIDDEN = "[hidden]"
_SECRET_NAME = re.compile(
    r"(?i)(^|[_\W-])(password|passwd|pwd|secret|token|cookie|authorization|credentials?"
    r"|(api|access|private|signing|session)[_-]?key|dsn)([_\W-]|$)"
)
# An address with a password in it, bearer and webhook tokens, and keys with the prefixes of known makers.
_SECRET_TEXT = re.compile(
    r"(?P<address>\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+(?=@)"
    r"|(?P<bearer>(?i:\bbearer\s+))[A-Za-z0-9._~+/=-]{8,}"
    r"|(?P<webhook>/webhooks/\d+/)[\w-]+"
    r"|\b(?:sk|rk|pk|whsec|ghp|gho|github_pat|xox[abp]|glpat|jk)[-_][A-Za-z0-9_-]{8,}"
)
_DEPTH = 6
_NOISY = (
    "httpx",
    "httpcore",
    "asyncio",
    "urllib3",
    "watchfiles",
    "alembic",
    "multipart",
    "apprise",
    "procrastinate",
    "chainlit",
    "mcp",
    "uvicorn",
    "engineio",
    "socketio",
)


def configure_logging(
    style: Literal["console", "json"] = "console", level: str = "INFO", stream: TextIO | None = None
) -> None:
    """Send every log line, ours and the libraries', to stderr in one style."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    target = stream or sys.stderr
    if style == "json":
        last: list[Processor] = [
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.JSONRenderer(),
        ]
    else:
        plain = structlog.dev.ConsoleRenderer(
            colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        last = [structlog.processors.format_exc_info, redact, _one_line, plain]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[remove, *last])
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    quiet = root.level if root.level < logging.INFO else max(logging.WARNING, root.level)
    for name in _NOISY:
        logging.getLogger(name).setLevel(quiet)


@contextmanager
def bound(**ids: str | None) -> Iterator[None]:
    """Put ids (request, call, session) on every line logged inside, in this task only."""
    known = {key: value for key, value in ids.items() if value is not None}
    with structlog.contextvars.bound_contextvars(**known):
        yield


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hide values under secret-looking names, and secrets inside any text."""
    for key in list(event):
        event[key] = _HIDDEN if _SECRET_NAME.search(key) else _clean(event[key], _DEPTH)
    return event


def _one_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Keep words from drawing on the terminal, or from pretending to be a line of their own."""
    for key, value in event.items():
        if isinstance(value, str):
            shown = visible(value)
            event[key] = shown if key == "exception" else shown.replace("\n", "\\n")
    return event


def hide_secrets(text: str) -> str:
    """Replace the secrets that are known, and what looks like one, inside a text.

    What looks like one: passwords in addresses, bearer and webhook tokens, known kinds of keys.
    """
    return _SECRET_TEXT.sub(
        lambda found: (found["address"] or found["bearer"] or found["webhook"] or "") + _HIDDEN,
        hide(text),
    )


def _clean(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return hide_secrets(value)
    if depth and isinstance(value, MutableMapping):
        return {
            key: _HIDDEN if _SECRET_NAME.search(str(key)) else _clean(inner, depth - 1)
            for key, inner in value.items()
        }
    if depth and isinstance(value, list | tuple):
        return [_clean(inner, depth - 1) for inner in value]
    if isinstance(value, bool | int | float) or value is None:
        return value
    return hide_secrets(str(value)) if depth else _HIDDEN
