from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from nebula.errors import InvalidInput
from nebula.tool.context import Context
from nebula.tool.definition import Effect, tool
from nebula.tool.result import Result
from ui.cli.arguments import typed_arguments


class Size(BaseModel):
    width: int


@tool(effect=Effect.READ, examples=["a", "b"])
async def sample_take(
    ctx: Context,
    text: Annotated[str, Field(description="text")] = "",
    count: Annotated[int | None, Field(description="count")] = None,
    share: Annotated[float, Field(description="share")] = 0.5,
    on: Annotated[bool, Field(description="on")] = False,
    tags: Annotated[list[str], Field(description="tags")] = [],  # noqa: B006
    size: Annotated[Size | None, Field(description="size")] = None,
    mode: Annotated[Literal["a", "b"], Field(description="mode")] = "a",
) -> Result:
    """Take everything."""
    return Result()


@pytest.mark.parametrize(
    ("pairs", "arguments"),
    [
        (["text=5"], {"text": "5"}),
        (["text=a=b"], {"text": "a=b"}),
        (["text="], {"text": ""}),
        (["count=5"], {"count": 5}),
        (["count=null"], {"count": None}),
        (["share=1.5"], {"share": 1.5}),
        (["on=yes"], {"on": True}),
        (["on=false"], {"on": False}),
        (["tags=x"], {"tags": ["x"]}),
        (["tags=x", "tags=y"], {"tags": ["x", "y"]}),
        (['tags=["x", "y"]'], {"tags": ["x", "y"]}),
        (['size={"width": 3}'], {"size": {"width": 3}}),
        (["mode=b"], {"mode": "b"}),
        (["count=many"], {"count": "many"}),
    ],
)
def test_typed_text_gets_the_type_the_tool_declares(
    pairs: list[str], arguments: dict[str, Any]
) -> None:
    assert typed_arguments(sample_take, pairs) == arguments


def test_pairs_add_to_a_json_document() -> None:
    assert typed_arguments(sample_take, ["count=2"], '{"text": "t"}') == {"text": "t", "count": 2}


@pytest.mark.parametrize(
    ("pairs", "document"),
    [
        (["text"], ""),
        (["=x"], ""),
        (["other=1"], ""),
        (["text=a", "text=b"], ""),
        ([], "["),
        ([], "3"),
    ],
)
def test_what_does_not_fit_is_refused(pairs: list[str], document: str) -> None:
    with pytest.raises(InvalidInput):
        typed_arguments(sample_take, pairs, document)
