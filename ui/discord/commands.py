"""Discord's slash commands, made from the tools: `/gpu status`, with typed options."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from nebula.llm.command.slots import Slot, SlotValues, says_of, slots_of
from nebula.tool.definition import AnyTool, secrets_of

Payload = dict[str, Any]

_TEXT, _WHOLE, _FLAG, _NUMBER, _SUBCOMMAND = 3, 4, 5, 10, 1
_KINDS = {"whole": _WHOLE, "number": _NUMBER, "flag": _FLAG}
_MOST_COMMANDS, _MOST_INSIDE, _MOST_OPTIONS, _MOST_CHOICES = 100, 25, 25, 25
_CHARACTERS = 8000
"""Names, descriptions and choices of one command, counted together."""
_DESCRIPTION, _NAME, _VALUE = 100, 32, 100
_FAR = 2**53
_GUILD_INSTALL, _ANYWHERE = [0], [0, 1]
"""Added to servers; used there and in direct messages with the bot."""

OWN: tuple[Payload, ...] = (
    {
        "name": "link",
        "description": "Link your Discord account with the code that /discord_link gave you",
        "options": [
            {
                "type": _TEXT,
                "name": "code",
                "description": "The code; it works once, for ten minutes",
                "required": True,
                "max_length": 40,
            }
        ],
    },
    {"name": "new", "description": "Begin a new conversation here", "options": []},
    {"name": "stop", "description": "Stop what Jarvis is doing here", "options": []},
)
"""What the door itself understands."""


class Invoked(BaseModel):
    """A command as somebody gave it."""

    tool: str
    arguments: dict[str, Any] = {}


@dataclass
class _Group:
    """One command with the tools of a feature below it."""

    name: str
    description: str
    tools: list[Payload] = field(default_factory=list)
    size: int = 0


class Commands:
    """All commands of the bot, as Discord takes them, and what each one means."""

    def __init__(self, tools: Iterable[AnyTool], about: Mapping[str, str]) -> None:
        """Make them from the tools that a person may use here, and a line about each feature."""
        self._tools: dict[tuple[str, str], AnyTool] = {}
        self.payload: list[Payload] = [_dressed(each) for each in OWN]
        self.left_out: list[str] = []
        by_feature: dict[str, list[AnyTool]] = {}
        for tool in sorted(tools, key=lambda each: each.name):
            if fits(tool):
                by_feature.setdefault(tool.feature, []).append(tool)
        for feature, own in by_feature.items():
            self._add(feature, about.get(feature, feature), own)

    @property
    def sha256(self) -> str:
        """Return what changes whenever the commands do."""
        return hashlib.sha256(json.dumps(self.payload, sort_keys=True).encode()).hexdigest()

    def tool(self, group: str, name: str) -> AnyTool | None:
        """Return the tool behind a command."""
        return self._tools.get((group, name))

    def read(self, data: Mapping[str, Any]) -> tuple[AnyTool, dict[str, Any]] | None:
        """Return tool and values of a command as Discord sent it, None when it is not known."""
        below = next(iter(data.get("options") or ()), None)
        if below is None or below.get("type") != _SUBCOMMAND:
            return None
        tool = self.tool(str(data.get("name")), str(below.get("name")))
        if tool is None:
            return None
        names = {_option_name(name): name for name in tool.input_model.model_fields}
        given = {each["name"]: each.get("value") for each in below.get("options") or ()}
        return tool, {names[name]: value for name, value in given.items() if name in names}

    def _add(self, feature: str, about: str, tools: Sequence[AnyTool]) -> None:
        """Pack a feature's tools into as few commands as Discord's limits allow."""
        group = _Group(feature[:_NAME], short(about))
        groups = [group]
        for tool in tools:
            below = _below(tool)
            size = _size(below)
            if len(group.tools) == _MOST_INSIDE or group.size + size > _CHARACTERS - 200:
                group = _Group(f"{feature[: _NAME - 2]}{len(groups) + 1}", short(about))
                groups.append(group)
            if len(self.payload) + len(groups) > _MOST_COMMANDS:
                self.left_out.append(tool.name)
                continue
            group.tools.append(below)
            group.size += size
            self._tools[(group.name, below["name"])] = tool
        for each in groups:
            if each.tools:
                made = {"name": each.name, "description": each.description, "options": each.tools}
                self.payload.append(_dressed(made))


def fits(tool: AnyTool) -> bool:
    """Say whether a tool can be a command: no secret goes through Discord, in or out."""
    fields = tool.input_model.model_fields
    required = sum(info.is_required() for info in fields.values())
    sealed = secrets_of(tool) or tool.output_model.shown_once()
    return not sealed and required <= _MOST_OPTIONS


def known_values(option: str, typed: str, known: SlotValues) -> list[str]:
    """Return what may be meant while somebody types a value, the likeliest first."""
    read = known.get(option)
    if read is None:
        return []
    wanted = typed.strip().casefold()
    values = list(dict.fromkeys(value for _, value in says_of(read())))
    near = [value for value in values if wanted in value.casefold()]
    near.sort(key=lambda value: not value.casefold().startswith(wanted))
    return [value for value in near if len(value) <= _VALUE][:_MOST_CHOICES]


def short(text: str) -> str:
    """Return a description of the length that Discord takes."""
    line = " ".join(text.split())
    if len(line) <= _DESCRIPTION:
        return line or "–"
    return line[: _DESCRIPTION - 1].rsplit(" ", 1)[0] + "…"


def _dressed(command: Payload) -> Payload:
    return {
        "type": 1,
        **command,
        "integration_types": _GUILD_INSTALL,
        "contexts": _ANYWHERE,
    }


def _below(tool: AnyTool) -> Payload:
    slots = list(slots_of(tool).values())
    # Discord wants those that are needed first.
    slots.sort(key=lambda slot: not slot.required)
    return {
        "type": _SUBCOMMAND,
        "name": _option_name(tool.name.removeprefix(f"{tool.feature}_")),
        "description": short(tool.summary),
        "options": [_option(tool, slot) for slot in slots[:_MOST_OPTIONS]],
    }


def _option(tool: AnyTool, slot: Slot) -> Payload:
    made: Payload = {
        "type": _KINDS.get(slot.kind, _TEXT),
        "name": _option_name(slot.name),
        "description": short(slot.description),
        "required": slot.required,
    }
    if slot.kind == "choice":
        values = list(dict.fromkeys(value for _, value in slot.choices))
        if len(values) <= _MOST_CHOICES and all(0 < len(value) <= _VALUE for value in values):
            made["choices"] = [{"name": value, "value": value} for value in values]
    elif slot.kind in {"whole", "number"}:
        low, high = _bounds(tool, slot)
        made |= {} if low is None else {"min_value": low}
        made |= {} if high is None else {"max_value": high}
    elif made["type"] == _TEXT and slot.name in AUTOCOMPLETED:
        made["autocomplete"] = True
    return made


AUTOCOMPLETED = frozenset({"service", "node", "model"})
"""Parameters whose values are known at every moment."""


def _bounds(tool: AnyTool, slot: Slot) -> tuple[Any, Any]:
    """Return the least and the most that the tool's schema allows."""
    schema = tool.schema().get("properties", {}).get(slot.name, {})
    options = [schema, *schema.get("anyOf", ())]
    low = next((each["minimum"] for each in options if "minimum" in each), None)
    high = next((each["maximum"] for each in options if "maximum" in each), None)
    sane = [value if value is not None and abs(value) <= _FAR else None for value in (low, high)]
    return sane[0], sane[1]


def _option_name(name: str) -> str:
    return re.sub(r"[^a-z0-9_-]", "_", name.lower())[:_NAME]


def _size(command: Payload) -> int:
    own = len(command["name"]) + len(command["description"])
    choices = sum(
        len(choice["name"]) + len(str(choice["value"])) for choice in command.get("choices", ())
    )
    return own + choices + sum(_size(each) for each in command.get("options", ()))
