"""Slash commands: `/gpu_switch comfyui node="gaming pc"`."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nebula.tool.definition import AnyTool

_COMMAND = re.compile(r"^/\s?([A-Za-z][\w-]*)(?:\s+(.*))?$", re.DOTALL)


@dataclass(frozen=True)
class Slash:
    """A parsed command line; `rest` is what belongs to no parameter."""

    said: dict[str, str] = field(default_factory=dict)
    rest: str = ""


def split(text: str) -> tuple[str, str] | None:
    """Return the command's name and its argument text, or None for ordinary text."""
    found = _COMMAND.match(text)
    if found is None:
        return None
    return found[1].replace("-", "_").casefold(), (found[2] or "").strip()


def parse(tool: AnyTool, text: str) -> Slash:
    """Read `key=value` pairs of the tool's parameters; free words fill the open parameter.

    A value runs to the next known key unless it is quoted or is JSON, so that
    `message=all is well channel=ops` needs no quotes.
    """
    names = tool.input_model.model_fields
    keys = list(re.finditer(rf"(?:^|(?<=\s))({'|'.join(names)})=", text)) if names else []
    said: dict[str, str] = {}
    rest = [text[: keys[0].start()] if keys else text]
    at = 0
    for index, key in enumerate(keys):
        if key.start() < at:
            continue  # inside the quoted value before it
        value, at = _value(text, key.end(), _next(keys, index, text))
        said[key[1]] = value
        following = next((other.start() for other in keys if other.start() >= at), len(text))
        rest.append(text[at:following])
    free = " ".join(part.strip() for part in rest if part.strip())
    return _placed(tool, said, free)


def spoken(tool: AnyTool, arguments: Mapping[str, Any]) -> str:
    """Write a call as the slash command that makes it."""
    parts = [f"{name}={_written(value)}" for name, value in arguments.items()]
    return " ".join([f"/{tool.name}", *parts])


def _written(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"[\w.:/@+-]+", value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _next(keys: list[re.Match[str]], index: int, text: str) -> int:
    return keys[index + 1].start() if index + 1 < len(keys) else len(text)


def _value(text: str, start: int, stop: int) -> tuple[str, int]:
    """Return the value that starts here and where it ends."""
    opening = text[start : start + 1]
    if opening and opening in '"[{':
        try:
            value, end = json.JSONDecoder().raw_decode(text, start)
        except json.JSONDecodeError:
            pass
        else:
            return (value if isinstance(value, str) else json.dumps(value)), end
    if opening and opening in "\"'":
        end = text.find(opening, start + 1)
        if end > 0:
            return text[start + 1 : end], end + 1
    return text[start:stop].strip(), stop


def _placed(tool: AnyTool, said: dict[str, str], free: str) -> Slash:
    """Give words without a key to the parameter that is open for them."""
    if not free:
        return Slash(said)
    fields = tool.input_model.model_fields
    required = [name for name, info in fields.items() if info.is_required() and name not in said]
    strange = re.match(r"[A-Za-z_]\w*=", free) is not None
    open_for = required or [name for name in fields if name not in said and not strange]
    if len(open_for) == 1:
        return Slash({**said, open_for[0]: _unquoted(free)})
    if required:
        words = free.split(None, len(required) - 1)
        return Slash({**said, **dict(zip(required, words, strict=False))})
    return Slash(said, free)


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text
