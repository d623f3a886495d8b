"""Schemas that cost few tokens and still say all a model needs."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from graphs.schemas import Schemas, compact
from nebula.tool.context import Context
from nebula.tool.definition import Effect, tool
from nebula.tool.registry import Registry
from nebula.tool.result import Result
from tests.graphs.lab import ALL, lamps_light


def test_noise_is_dropped_and_meaning_kept() -> None:
    schema = {
        "title": "lamps_input",
        "additionalProperties": False,
        "properties": {
            "title": {"type": "string", "title": "Title", "description": "Its title"},
            "node": {
                "anyOf": [{"type": "string"}, {"type": "null"}],
                "default": None,
                "description": "Where",
            },
            "levels": {"type": "object", "additionalProperties": {"type": "integer"}},
        },
        "required": ["title"],
        "type": "object",
    }
    assert compact(schema) == {
        "type": "object",
        "properties": {
            "title": {"type": "string", "description": "Its title"},
            "node": {"type": "string", "description": "Where"},
            "levels": {"type": "object", "additionalProperties": {"type": "integer"}},
        },
        "required": ["title"],
    }


def test_a_tool_is_a_function_with_its_description() -> None:
    [schema] = Schemas(Registry(ALL)).of([lamps_light.name, "unknown"])
    assert schema["function"]["name"] == "lamps_light"
    assert schema["function"]["description"] == "Light a lamp."
    assert schema["function"]["parameters"]["required"] == ["name"]


class Colour(StrEnum):
    """What colour a lamp may have."""

    RED = "red"
    BLUE = "blue"


class Palette(Result):
    colours: list[Colour]


@tool(effect=Effect.READ, says=["paint {colour}"], examples=["make it red"])
async def lamps_paint(
    ctx: Context, colour: Annotated[Colour | None, Field(description="Which")] = None
) -> Palette:
    """Show how a colour looks."""
    return Palette(colours=[colour] if colour else [])


def test_the_values_of_a_choice_stand_where_they_are_used() -> None:
    [schema] = Schemas(Registry([lamps_paint])).of([lamps_paint.name])
    assert schema["function"]["parameters"] == {
        "type": "object",
        "properties": {
            "colour": {"type": "string", "enum": ["red", "blue"], "description": "Which"}
        },
    }
