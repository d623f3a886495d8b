"""Finds a tool's arguments in a sentence that fits no template."""

import re
from collections.abc import Callable, Sequence

from nebula.llm.command.slots import Slot, slots_of
from nebula.tool.definition import AnyTool

Known = Callable[[str], Sequence[tuple[str, str]]]

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.])")
_QUOTED = re.compile(r'"([^"]+)"')
_AFTER_WORD = re.compile(
    r"\b(?:about|for|called|named|of|on|saying|that|to|with)\s+(?:my |the |a |an )?(.+)$",
    re.IGNORECASE,
)


def fill(tool: AnyTool, text: str, known: Known) -> dict[str, str]:
    """Return what the sentence says about the tool's parameters, by typed evidence only.

    Evidence is a known value, a choice, a number beside the parameter's name (or the only
    number for the only number slot), or a quoted text for the only open text slot.
    """
    slots = slots_of(tool)
    said: dict[str, str] = {}
    for slot in slots.values():
        value = _value(slot, text, known(slot.name))
        if value is not None:
            said[slot.name] = value
    said |= _lone_number(slots, text, said)
    said |= _lone_text(slots, text, said, known)
    return said


def topic(tool: AnyTool, text: str, known: Known) -> dict[str, str]:
    """Also take free words after a preposition: good enough to look something up with."""
    said = fill(tool, text, known)
    slots = slots_of(tool)
    open_slots = _open_texts(slots, said, known)
    required = [slot for slot in open_slots if slot.required]
    if len(required) == 1 and len(text.split()) > 1:
        found = _AFTER_WORD.search(text)
        said[required[0].name] = (found[1] if found else text).rstrip(" ?!.")
    return said


def _value(slot: Slot, text: str, known: Sequence[tuple[str, str]]) -> str | None:
    if slot.kind == "flag":
        return _flag(slot, text)
    forms = slot.choices or known
    held = [(form, value) for form, value in forms if _holds(text, form)]
    if held:
        return max(held, key=lambda pair: len(pair[0]))[1]
    if slot.kind in ("whole", "number"):
        beside = re.search(
            rf"\b{re.escape(slot.spoken)}\s*(?:=|:|of|to)?\s*(-?\d+(?:\.\d+)?)", text, re.I
        )
        return beside[1] if beside else None
    return None


def _flag(slot: Slot, text: str) -> str | None:
    """Read a flag only beside its own name ("follow off"): bare on and off mean too much."""
    found = re.search(
        rf"\b{re.escape(slot.spoken)}\s*(?:=|:|is)?\s*(on|off|yes|no|true|false)\b", text, re.I
    )
    return found[1].lower() if found else None


def _holds(text: str, form: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(form)}(?!\w)", text, re.IGNORECASE) is not None


def _lone_number(slots: dict[str, Slot], text: str, said: dict[str, str]) -> dict[str, str]:
    wanting = [s for s in slots.values() if s.kind in ("whole", "number") and s.name not in said]
    numbers = _NUMBER.findall(text)
    if len(wanting) == 1 and len(numbers) == 1:
        return {wanting[0].name: numbers[0]}
    return {}


def _lone_text(
    slots: dict[str, Slot], text: str, said: dict[str, str], known: Known
) -> dict[str, str]:
    quoted = _QUOTED.findall(text)
    open_slots = _open_texts(slots, said, known)
    wanting = [slot for slot in open_slots if slot.required] or open_slots
    if len(quoted) == 1 and len(wanting) == 1:
        return {wanting[0].name: quoted[0]}
    return {}


def _open_texts(slots: dict[str, Slot], said: dict[str, str], known: Known) -> list[Slot]:
    return [
        slot
        for slot in slots.values()
        if slot.kind == "text" and slot.name not in said and not known(slot.name)
    ]
