"""A stopped run of an agent asks no more, and an answer that comes all the same runs nothing."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage

from nebula.auth.principal import Caller, Surface
from nebula.errors import Conflict
from nebula.settings import Settings
from nebula.tool.approval import Approval
from tests.graphs.keeper import TOOLS, make, newest, ran, use
from tests.graphs.lab import DONE, Lab, call, calls, lab


def smashes(messages: Sequence[BaseMessage], offered: Sequence[str]) -> AIMessage:
    if messages[-1].type == "human":
        return calls(call("lamps_smash", name="porch"))
    return AIMessage("I went on.")


async def approve(world: Lab, question: Approval, by: Caller) -> Any:
    return await world.app.parts.approvals.decide(
        question.id, decision="approve", by=by.principal, surface=Surface.CHAT
    )


@pytest.mark.parametrize("first", ["approve", "stop", "neither"])
async def test_an_answer_at_the_moment_of_a_stop_runs_nothing(
    settings: Settings, ada: Caller, first: str
) -> None:
    async with lab(settings, smashes, more=TOOLS) as world:
        await make(world, ada)
        parked = await ran(world, ada)
        [question] = await world.app.parts.approvals.list(ada.principal)
        answering = approve(world, question, ada)
        stopping = use(world, ada, "agents_stop", which="keeper")
        if first == "approve":
            await answering
            await stopping
        elif first == "stop":
            await stopping
            with pytest.raises(Conflict, match="no longer needed: It was stopped"):
                await answering
        else:
            await asyncio.gather(answering, stopping, return_exceptions=True)
        assert parked.session_id is not None
        _ = [event async for event in world.jarvis.resume(ada, parked.session_id)]
        await world.jarvis.unattended.beat()
        run = await newest(world, ada)
        kept = await world.app.parts.approvals.get(question.id, ada.principal)
        went_on = await world.jarvis.is_going_on(ada, parked.session_id)
    assert (parked.state, run.state, run.report) == ("waiting", "cancelled", "")
    assert (kept.state, DONE, went_on) == ("withdrawn", [], False)


async def test_what_a_deleted_agent_asked_is_withdrawn(settings: Settings, ada: Caller) -> None:
    async with lab(settings, smashes, more=TOOLS) as world:
        await make(world, ada)
        await ran(world, ada)
        [question] = await world.app.parts.approvals.list(ada.principal)
        execute = world.app.executor.execute
        asked = {"arguments": {"agent": "keeper"}, "caller": ada, "call_id": "delete-1"}
        with pytest.raises(Exception, match="agents_delete"):
            await execute("agents_delete", **asked)
        [deleting] = [
            each
            for each in await world.app.parts.approvals.list(ada.principal)
            if each.tool == "agents_delete"
        ]
        await approve(world, deleting, ada)
        await execute("agents_delete", **asked)
        kept = await world.app.parts.approvals.get(question.id, ada.principal)
    assert (kept.state, DONE) == ("withdrawn", [])
