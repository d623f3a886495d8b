"""The sentences that describe a tool: what a router compares a request with."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from nebula.tool.definition import AnyTool

_FORMS_SEEN = 256
_FORMS_KEPT = 4
"""A template with many alternatives is shown by a few spread over them: the rest add no meaning."""

_FEW_CHOICES = 6

SUMMARY = 1
"""Where the summary is among a tool's phrases."""

_LITTLE = re.compile(r" (?:the|a|an|my|me)(?= |$)")
"""Words whose presence makes no other sentence."""


def phrases_of(tool: AnyTool) -> list[str]:
    """Return the tool's description, its sentences without slots, its examples and phrases."""
    name = tool.name.replace("_", " ")
    described = [
        f"{parameter.replace('_', ' ')}: {field.description}"
        for parameter, field in tool.input_model.model_fields.items()
    ]
    # The summary stands alone as well: parameters blur what a tool is for.
    found = [name, tool.summary, " ".join([f"{name}.", tool.description, *described])]
    choices = _choices_of(tool)
    for template in tool.says:
        found += plain_forms(template, choices=choices)
    found += tool.examples
    found += more_phrases(tool)
    return list(dict.fromkeys(found))


def more_phrases(tool: AnyTool) -> list[str]:
    """Return further ways to ask for a tool, from the `phrases.yml` beside its code."""
    path = Path(inspect.getfile(tool.fn)).with_name("phrases.yml")
    if not path.exists():
        return []
    content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [str(phrase) for phrase in content.get(tool.name, [])]


def plain_forms(
    template: str,
    limit: int = _FORMS_KEPT,
    choices: Mapping[str, Sequence[str]] | None = None,
) -> list[str]:
    """Return up to `limit` sentences of a hassil template.

    Each slot is replaced by its `choices`, or by its name where there are none.

    Raises:
        hassil.ParseError: when the template is not well-formed.
    """
    told_apart: dict[str, str] = {}
    for form in islice(_forms(template, choices or {}), _FORMS_SEEN):
        told_apart.setdefault(_LITTLE.sub("", f" {form}"), form)
    every = list(told_apart.values())
    if len(every) <= limit:
        return every
    return [every[index * len(every) // limit] for index in range(limit)]


def _choices_of(tool: AnyTool) -> dict[str, list[str]]:
    """Return the values of the parameters that take one of a few."""
    schema = tool.input_model.model_json_schema()
    found: dict[str, list[str]] = {}
    for name, field in schema.get("properties", {}).items():
        kinds = [field, *field.get("anyOf", ())]
        kinds += [
            schema["$defs"][kind["$ref"].rpartition("/")[2]] for kind in kinds if "$ref" in kind
        ]
        values = [str(value) for kind in kinds for value in kind.get("enum", ())]
        if 1 < len(values) <= _FEW_CHOICES:
            found[name] = [value.replace("_", " ") for value in values]
    return found


def _forms(template: str, choices: Mapping[str, Sequence[str]]) -> Iterator[str]:
    from hassil.intents import SlotList, TextSlotList
    from hassil.parse_expression import parse_sentence
    from hassil.sample import sample_sentence

    sentence = parse_sentence(template)
    slots: dict[str, SlotList] = {
        name: TextSlotList.from_strings(
            choices.get(name) or [name.replace("_", " ")], allow_template=False
        )
        for name in set(sentence.list_names())
    }
    for form in sample_sentence(sentence, slots):
        yield " ".join(form.split())
