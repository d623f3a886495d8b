"""Schemas that cost few tokens and still say all a model needs."""

from graphs.schemas import Schemas, compact
from nebula.tool.registry import Registry
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
