"""Command mode as the chat model of a graph."""

from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from nebula.llm.command.mode import CommandMode
from nebula.llm.command.model import CHOICES, CommandModel
from nebula.llm.embedding import Embedder
from nebula.tool.registry import Registry
from nebula.tool.retrieval import ToolIndex
from tests.nebula.llm.command.house import SLOT_VALUES, TOOLS, Done
from tests.people import caller

_REGISTRY = Registry(TOOLS)
_INDEX = ToolIndex(_REGISTRY, Embedder())


def bound(*names: str) -> Any:
    model = CommandModel(mode=CommandMode(_INDEX, slot_values=SLOT_VALUES), registry=_REGISTRY)
    specs = [
        {"type": "function", "function": {"name": name, "description": "", "parameters": {}}}
        for name in names
    ]
    return model.bind_tools(specs)


async def test_a_command_becomes_a_tool_call_with_typed_arguments() -> None:
    model = bound("gpu_status", "services_logs")
    answer = await model.ainvoke("show the last 20 lines of the logs of ollama")
    (call,) = answer.tool_calls
    assert call["name"] == "services_logs"
    assert call["args"] == {"service": "ollama", "lines": 20}
    assert answer.usage_metadata["total_tokens"] == 0


async def test_only_bound_tools_are_called_and_unknown_ones_are_left_alone() -> None:
    answer = await bound("services_list", "ask_gpu").ainvoke("check gpu status")
    assert answer.tool_calls == [] or answer.tool_calls[0]["name"] == "services_list"


async def test_choices_are_numbered_and_a_number_picks_one() -> None:
    model = bound("gpu_switch", "gpu_status", "users_delete")
    said: list[BaseMessage] = [SystemMessage("You are Jarvis."), HumanMessage("/gpu_switch")]
    asked = await model.ainvoke(said)
    assert "1. ollama" in asked.text
    assert asked.additional_kwargs[CHOICES]["asked"]["parameter"] == "service"
    picked = await model.ainvoke([*said, asked, HumanMessage("2")])
    assert picked.tool_calls[0]["args"] == {"service": "comfyui"}


@pytest.mark.parametrize(
    ("artifact", "content", "shown"),
    [
        (Done(text="all *good*"), "{}", r"- **Text**: all \*good\*"),
        ({"markdown": "**fine**"}, "{}", "**fine**"),
        ("as written", "{}", "as written"),
        (None, "the content", "the content"),
    ],
)
async def test_a_tool_result_is_shown_as_it_renders_itself(
    artifact: Any, content: str, shown: str
) -> None:
    conversation = [
        HumanMessage("check gpu status"),
        AIMessage("", tool_calls=[{"name": "gpu_status", "args": {}, "id": "1"}]),
        ToolMessage(content, tool_call_id="1", artifact=artifact),
    ]
    answer = await bound("gpu_status").ainvoke(conversation)
    assert answer.text == shown
    assert not answer.tool_calls


async def test_the_results_of_parallel_calls_are_shown_in_order() -> None:
    results = [ToolMessage(f"part {n}", tool_call_id=str(n)) for n in (1, 2)]
    answer = await bound("gpu_status").ainvoke([HumanMessage("x"), *results])
    assert answer.text == "part 1\n\npart 2"


async def test_answers_stream_and_add_up_to_the_whole() -> None:
    model = bound("gpu_status", "gpu_switch")
    chunks = [chunk async for chunk in model.astream("help")]
    assert len(chunks) > 1
    whole = (await model.ainvoke("help")).text
    assert "".join(chunk.text for chunk in chunks) == whole


async def test_a_streamed_call_arrives_complete() -> None:
    total: AIMessageChunk | None = None
    async for chunk in bound("gpu_switch").astream("switch to comfyui"):
        total = chunk if total is None else total + chunk
    assert total is not None
    assert total.tool_calls[0]["args"] == {"service": "comfyui"}


async def test_a_streamed_question_keeps_its_choices() -> None:
    total: AIMessageChunk | None = None
    async for chunk in bound("gpu_switch").astream("/gpu_switch"):
        total = chunk if total is None else total + chunk
    assert total is not None
    assert total.additional_kwargs[CHOICES]["options"]


async def test_the_caller_bounds_what_is_understood() -> None:
    model = CommandModel(
        mode=CommandMode(_INDEX, slot_values=SLOT_VALUES),
        registry=_REGISTRY,
        caller=caller("viewer"),
    ).bind_tools([{"type": "function", "function": {"name": "users_delete", "parameters": {}}}])
    assert not (await model.ainvoke("delete user bob")).tool_calls


def test_it_also_answers_without_an_event_loop() -> None:
    assert bound("gpu_status").invoke("check gpu status").tool_calls[0]["name"] == "gpu_status"
