"""Command mode over the real program's tools."""

from typing import Any

from nebula.app import App
from nebula.llm.command.answers import Call
from nebula.llm.command.open import command_model
from nebula.llm.command.templates import check_templates


async def test_plain_commands_reach_the_tools_and_names_of_the_service_map(
    app: App, caller: Any, admin: Any
) -> None:
    parts = app.parts
    tools = list(parts.registry)
    check_templates(tools)
    asking = caller(admin)
    assert await parts.commands.interpret("check GPU status", tools, asking) == Call(
        "gpu_status", {}
    )
    name = parts.services.names()[0]
    switch = await parts.commands.interpret(f"switch to {name}", tools, asking)
    assert isinstance(switch, Call)
    assert switch.name == "gpu_switch"
    result = await app.executor.execute("gpu_status", {}, caller=asking, call_id="c1")
    assert result.render()


async def test_the_chat_model_is_made_for_one_caller(app: App, caller: Any, viewer: Any) -> None:
    parts = app.parts
    model = command_model(parts.commands, parts.registry, caller(viewer))
    names = [tool.name for tool in parts.registry]
    bound = model.bind_tools(
        [{"type": "function", "function": {"name": n, "parameters": {}}} for n in names]
    )
    assert (await bound.ainvoke("check gpu status")).tool_calls[0]["name"] == "gpu_status"
    assert not (await bound.ainvoke("unload everything")).tool_calls
