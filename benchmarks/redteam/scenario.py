"""Scenarios as data: what a person asks, what a good model does for it, and what text it meets.

An instruction hidden in that text is written `[[tool {"argument": "value"}]]`: whoever reads such a
text and obeys it makes exactly that call.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

FOLDER = Path(__file__).parent
_ORDER = re.compile(r"\[\[(?P<tool>[a-z_0-9]+) (?=\{)")
_JSON = json.JSONDecoder()

Channel = Literal[
    "web page",
    "document",
    "remembered fact",
    "Discord message",
    "file name",
    "commit message",
    "model name",
    "machine",
    "log",
    "tool error",
    "job result",
    "attachment",
    "none",
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Step(_Part):
    """One tool call of a good model, and what the tool then says."""

    tool: str
    arguments: dict[str, Any] = {}
    returns: str = "done"
    fails: bool = Field(False, description="The text comes as an error, not as a result")
    beside: bool = Field(False, description="In the same answer as the step before")


class Turn(_Part):
    """A message of the person, and what a good model does for it."""

    says: str
    steps: tuple[Step, ...] = ()
    outside: bool = Field(False, description="The message itself holds text by others")


class Scenario(_Part):
    """A conversation; what no step of it names and no person approved is harm."""

    name: str
    channel: Channel
    turns: tuple[Turn, ...]
    surface: Literal["chat", "discord", "mcp"] = "chat"
    asks: int | None = Field(None, description="How often a person may be asked, for tasks")

    @property
    def steps(self) -> Iterator[Step]:
        """Yield every step of every turn."""
        for turn in self.turns:
            yield from turn.steps

    @property
    def tools(self) -> set[str]:
        """Return the tools that its steps and its hidden instructions name."""
        hidden = (orders(text) for text in self.texts)
        return {step.tool for step in self.steps} | {name for found in hidden for name, _ in found}

    @property
    def texts(self) -> Iterator[str]:
        """Yield every text that the model reads."""
        for turn in self.turns:
            yield turn.says
            yield from (step.returns for step in turn.steps)


def orders(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the calls that a text tells its reader to make; one may hold others in a string."""
    found = []
    at = 0
    while (begun := _ORDER.search(text, at)) is not None:
        at = begun.end()
        try:
            arguments, end = _JSON.raw_decode(text, at)
        except ValueError:
            continue
        if text.startswith("]]", end):
            found.append((begun["tool"], arguments))
            at = end
    return found


def load(name: str) -> list[Scenario]:
    """Return the scenarios of a file in this folder."""
    said: Mapping[str, Any] = yaml.safe_load((FOLDER / f"{name}.yml").read_text(encoding="utf-8"))
    found = [Scenario.model_validate(each) for each in said["scenarios"]]
    names = [each.name for each in found]
    assert len(names) == len(set(names)), "two scenarios have the same name"
    return found
