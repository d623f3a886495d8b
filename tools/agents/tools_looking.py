"""See agents, and open the form in which they are made."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from nebula.jobs.schedules.timing import Cron
from nebula.jobs.schedules.words import in_words
from nebula.policy.selectors import Kind
from nebula.tool.context import Context
from nebula.tool.definition import Effect, tool
from tools.agents.parameters import AgentName
from tools.agents.ready import ready_agents
from tools.agents.schemas import Agent, AgentForm, AgentList, AgentShown, ReadyAgent
from tools.agents.service import Agents
from tools.agents.spec import Spec


@tool(
    effect=Effect.READ,
    rest="GET /agents",
    says=[
        "(list|show) [me] [(all|the|my)] [autonomous] agents",
        "(which|what) agents (are there|do i have|can i have)",
    ],
    examples=[
        "what runs by itself here?",
        "which agents are switched on",
        "what ready-made agents are there",
    ],
)
async def agents_list(ctx: Context) -> AgentList:
    """List the agents that run by themselves, when they run next, and the ready-made ones."""
    found = await Agents(ctx.parts).list(ctx.principal)
    return AgentList(agents=found, ready=ready_ones(found))


@tool(
    effect=Effect.READ,
    rest="GET /agents/{agent}",
    selectors={"agent": Kind.WORDS},
    says=["(show|open|describe) [me] [the] agent {agent}"],
    examples=["show the agent morning-report", "when does the triage agent run next"],
)
async def agents_show(ctx: Context, agent: AgentName) -> AgentShown:
    """Show one agent: what it may do, its limits, its next times, and how its last run ended."""
    return AgentShown(agent=await Agents(ctx.parts).get(ctx.principal, agent))


@tool(
    effect=Effect.READ,
    selectors={"agent": Kind.WORDS},
    says=[
        "(create|make|build|add) (an|a new|another) agent",
        "(new agent|agent builder)",
        "(edit|change) [the] agent {agent}",
    ],
    examples=["I want to build an agent", "let me edit the morning report agent in a form"],
)
async def agents_compose(
    ctx: Context,
    agent: Annotated[
        str, Field(max_length=60, description="The agent to change; empty for a new one")
    ] = "",
) -> AgentForm:
    """Open the form for making an agent, or for changing one; it changes nothing by itself."""
    return AgentForm(agent=await Agents(ctx.parts).get(ctx.principal, agent) if agent else None)


def ready_ones(have: Sequence[Agent]) -> list[ReadyAgent]:
    """Return the ready-made agents that nobody of these is."""
    taken = {agent.name for agent in have}
    return [_ready(spec) for name, spec in ready_agents().items() if name not in taken]


def _ready(spec: Spec) -> ReadyAgent:
    when = f"on {spec.trigger.event}" if spec.trigger else "when it is started"
    if spec.cron is not None:
        when = in_words(Cron(expression=spec.cron, timezone=spec.timezone))
    return ReadyAgent(
        name=spec.name,
        purpose=spec.purpose,
        features=spec.features,
        tools=spec.tools,
        when=when,
    )
