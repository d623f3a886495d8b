"""The catalogue's tools in the shapes of other frameworks."""

from typing import Any

from benchmarks.catalogue import registry
from benchmarks.server import ANSWER


async def answer(**_: Any) -> str:
    """Return what every tool returns here."""
    return ANSWER


def langchain_tools(feature: str | None = None) -> list[Any]:
    """Return LangChain tools, of one feature or all."""
    from langchain_core.tools import StructuredTool

    return [
        StructuredTool(
            name=tool.name,
            description=tool.description,
            args_schema=tool.input_model,
            coroutine=answer,
        )
        for tool in registry()
        if feature in (None, tool.feature)
    ]


def agno_tools() -> list[Any]:
    """Return agno functions."""
    from agno.tools.function import Function

    return [
        Function(
            name=tool.name,
            description=tool.description,
            parameters=tool.schema(),
            entrypoint=answer,
            skip_entrypoint_processing=True,
        )
        for tool in registry()
    ]


def pydantic_ai_tools() -> list[Any]:
    """Return Pydantic AI tools."""
    from pydantic_ai import Tool

    return [
        Tool.from_schema(answer, tool.name, tool.description, tool.schema()) for tool in registry()
    ]
