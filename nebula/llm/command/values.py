"""Turns what was said into arguments that a tool accepts."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from nebula.llm.command.slots import Slot, resolve, slots_of
from nebula.tool.definition import AnyTool

_WORDS = {"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7}
_WORDS |= {"eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "twenty": 20}


@dataclass(frozen=True)
class Checked:
    """Arguments after validation: ready when nothing is missing and nothing is wrong."""

    arguments: dict[str, Any]
    missing: list[str] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Say whether the tool may be called with these."""
        return not self.missing and not self.wrong


def check(tool: AnyTool, said: Mapping[str, Any]) -> Checked:
    """Convert spoken values to the parameters' types and validate them with the input model."""
    slots = slots_of(tool)
    raw = {name: _converted(slots[name], value) for name, value in said.items() if name in slots}
    try:
        arguments = tool.input_model.model_validate(raw)
    except ValidationError as error:
        return _problems(raw, error)
    return Checked(arguments.model_dump(mode="json", exclude_unset=True))


def number(text: str) -> float | None:
    """Return the number a word or numeral stands for."""
    word = text.strip().casefold()
    if word in _WORDS:
        return float(_WORDS[word])
    return float(word) if re.fullmatch(r"-?\d+(?:\.\d+)?", word) else None


def _converted(slot: Slot, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if slot.choices:
        return resolve(value, slot.choices) or value
    if slot.kind in ("whole", "number"):
        found = number(value)
        return value if found is None else (int(found) if found.is_integer() else found)
    if slot.kind == "list":
        return _items(value)
    if slot.kind == "object":
        return _parsed(value)
    # The matcher of sentences takes "_" for a space, and so do people.
    if slot.prefix and re.fullmatch(r"[0-9a-z]+", value):
        return f"{slot.prefix}{value}"
    return value


def _items(text: str) -> Any:
    if text.startswith("["):
        return _parsed(text)
    return [item.strip() for item in re.split(r"\s*,\s*|\s+and\s+", text) if item.strip()]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _problems(raw: dict[str, Any], error: ValidationError) -> Checked:
    missing: list[str] = []
    wrong: dict[str, str] = {}
    for problem in error.errors(include_url=False, include_context=False):
        name = str(problem["loc"][0]) if problem["loc"] else ""
        if problem["type"] == "missing" and len(problem["loc"]) == 1:
            missing.append(name)
        else:
            wrong[name] = problem["msg"]
    good = {name: value for name, value in raw.items() if name not in wrong}
    return Checked(good, missing, wrong)
