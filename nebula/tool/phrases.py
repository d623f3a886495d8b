"""The sentences that describe a tool: what a router compares a request with."""

import inspect
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from nebula.tool.definition import AnyTool

_FORMS_SEEN = 64
_FORMS_KEPT = 4
"""A template with many alternatives is shown by a few spread over them: the rest add no meaning."""


def phrases_of(tool: AnyTool) -> list[str]:
    """Return the tool's description, its sentences without slots, its examples and phrases."""
    name = tool.name.replace("_", " ")
    described = [
        f"{parameter.replace('_', ' ')}: {field.description}"
        for parameter, field in tool.input_model.model_fields.items()
    ]
    # The summary stands alone as well: parameters blur what a tool is for.
    found = [name, tool.summary, " ".join([f"{name}.", tool.description, *described])]
    for template in tool.says:
        found += plain_forms(template)
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


def plain_forms(template: str, limit: int = _FORMS_KEPT) -> list[str]:
    """Return up to `limit` sentences of a hassil template, each slot replaced by its name.

    Raises:
        hassil.ParseError: when the template is not well-formed.
    """
    every = list(dict.fromkeys(islice(_forms(template), _FORMS_SEEN)))
    if len(every) <= limit:
        return every
    return [every[index * len(every) // limit] for index in range(limit)]


def _forms(template: str) -> Iterator[str]:
    from hassil.intents import SlotList, TextSlotList
    from hassil.parse_expression import parse_sentence
    from hassil.sample import sample_sentence

    sentence = parse_sentence(template)
    slots: dict[str, SlotList] = {
        name: TextSlotList.from_strings([name.replace("_", " ")], allow_template=False)
        for name in set(sentence.list_names())
    }
    for form in sample_sentence(sentence, slots):
        yield " ".join(form.split())
