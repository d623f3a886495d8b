"""Each ready-made agent runs once with the tools there really are."""

from typing import Any

from langchain_core.messages import AIMessage, ToolMessage

from nebula.auth.principal import Caller
from nebula.settings import Settings
from tests.graphs.keeper import EVERY, use, worked
from tests.graphs.lab import call, calls, lab, script
from tools.agents.ready import ready_agents

LOOKS: dict[str, list[dict[str, Any]]] = {
    "failed-job-triage": [
        call("jobs_list", state="failed"),
        call("knowledge_search", query="a job has failed"),
    ],
    "knowledge-refresh": [call("knowledge_list")],
    "model-update-check": [call("models_list")],
    "morning-report": [
        call("gpu_status"),
        call("services_list"),
        call("nodes_list"),
        call("jobs_list"),
    ],
    "service-watch": [call("services_list")],
}
"""What a model that does as it is told looks at first."""


async def test_every_ready_agent_looks_with_its_own_tools_and_reports(
    settings: Settings, ada: Caller
) -> None:
    assert LOOKS.keys() == ready_agents().keys()
    answers: list[AIMessage | str] = []
    for name, looks in LOOKS.items():
        answers += [calls(*looks), f"This is what {name} found."]
    async with lab(settings, script(*answers), more=EVERY) as world:
        for name, looks in LOOKS.items():
            await use(world, ada, "agents_create", from_ready=name)
            await use(world, ada, "agents_run", agent=name)
            run = await worked(world, ada)
            history, offered = world.model.asked[-1]
            assert (run.state, run.report) == ("done", f"This is what {name} found."), run.problem
            assert {each["name"] for each in looks} <= set(offered)
            told = [each for each in history if isinstance(each, ToolMessage)]
            assert len(told) == len(looks)
            assert [each.status for each in told] == ["success"] * len(told), told
