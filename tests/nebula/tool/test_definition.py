from typing import Annotated

import pytest
from pydantic import Field

from nebula.tool.context import Context
from nebula.tool.definition import BadDeclaration, Effect, tool
from nebula.tool.result import Result
from tests.nebula.tool.samples import Done, sample_destroy, sample_look

SAYS = ["one", "two"]


def test_a_tool_cannot_be_called_around_the_executor() -> None:
    assert not callable(sample_look)


def test_the_schema_forbids_unknown_arguments_and_describes_known_ones() -> None:
    schema = sample_destroy.schema()
    assert schema["additionalProperties"] is False
    assert schema["properties"]["name"]["description"] == "Which thing"


def test_a_changed_declaration_has_another_hash() -> None:
    assert sample_look.schema_hash() != sample_destroy.schema_hash()


def test_an_undescribed_parameter_stops_the_start() -> None:
    with pytest.raises(BadDeclaration, match="'name' has no description"):

        @tool(effect=Effect.READ, examples=SAYS)
        async def sample_bad(ctx: Context, name: str) -> Done:
            """Be bad."""
            return Done(name=name)


def test_an_effect_without_selectors_stops_the_start() -> None:
    with pytest.raises(BadDeclaration, match="names its selectors"):

        @tool(effect=Effect.WRITE, examples=SAYS)
        async def sample_bad(
            ctx: Context, name: Annotated[str, Field(description="Which")]
        ) -> Done:
            """Be bad."""
            return Done(name=name)


def test_a_wrong_name_a_missing_docstring_and_a_plain_result_are_told_together() -> None:
    with pytest.raises(BadDeclaration) as problem:

        @tool(effect=Effect.READ)
        async def Other(ctx: Context) -> str:  # type: ignore[type-var]
            return ""

    for said in ("the name is not", "docstring is missing", "not a Result", "at least two"):
        assert said in str(problem.value)


def test_a_result_of_another_kind_is_a_result() -> None:
    assert issubclass(Done, Result)
