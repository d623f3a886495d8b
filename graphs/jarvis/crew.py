"""What every turn shares: the compiled graphs, the roster and the way tools are found."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from langchain.agents import create_agent
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import ParrotFakeChatModel
from langchain_core.messages import AnyMessage
from langgraph.graph.state import CompiledStateGraph

from agents.profile import Profile
from agents.roster import Roster, validated
from graphs.adapter import ToolAdapter
from graphs.context import ThreadState, TurnContext
from graphs.jarvis.commitment import by_words
from graphs.jarvis.delegate import asking
from graphs.jarvis.plan import PLAN_TOOL
from graphs.jarvis.selection import fitting
from graphs.jarvis.summary import LONG_THREAD, shortened, summary_of
from graphs.schemas import Schemas
from graphs.thinking import Thinking
from graphs.tracing import trace_cheaply
from memory.checkpoints import Checkpoints
from memory.sessions import Message
from nebula.auth.principal import Caller, Surface
from nebula.llm.command.answers import Call
from nebula.policy.plan import Plan
from nebula.tool.definition import AnyTool, Effect

if TYPE_CHECKING:
    from nebula.app import App

Graph = CompiledStateGraph[Any, TurnContext, Any, Any]
COMMAND = "command"
_TELLING = 3
"""How many of the best tools say which sub-agents a request concerns."""


class Place(Protocol):
    """Where a model is served."""

    @property
    def name(self) -> str:
        """Name the provider."""
        ...


class Candidate(Protocol):
    """A model that can be asked now."""

    @property
    def place(self) -> Place:
        """Return where it is served."""
        ...

    @property
    def model(self) -> str:
        """Name the model."""
        ...


class Thinkers(Protocol):
    """Who thinks: the router in production."""

    def model(self, tier: str, *, caller: Caller | None) -> BaseChatModel:
        """Return the chat model of a tier."""
        ...

    async def candidates(self, tier: str) -> Sequence[Candidate]:
        """Return the models that can be asked now, best first; none means command mode."""
        ...


class Crew:
    """The supervisor and its sub-agents, compiled once."""

    def __init__(
        self,
        app: "App",
        roster: Roster,
        checkpoints: Checkpoints,
    ) -> None:
        """Take the program, who exists, and where threads are kept.

        Raises:
            BadDeclaration: when a profile names an unknown feature or a missing prompt.
        """
        trace_cheaply()
        registry = app.parts.registry
        self.roster = validated(roster, {tool.feature for tool in registry} | set(registry.about))
        self.executor = app.executor
        self._checkpoints = checkpoints
        self._router: Thinkers = app.parts.router
        self._commands = app.parts.commands
        own = [*(asking(agent, self) for agent in roster.agents), PLAN_TOOL]
        thinking = Thinking(Schemas(registry, [tool.schema for tool in own]))
        self.graph = _compiled(thinking, ToolAdapter(own), checkpoints)
        # Sub-agents keep their pauses in the thread that asked them.
        self.agent_graph = _compiled(thinking, ToolAdapter(), None)

    def model(self, profile: Profile, caller: Caller) -> BaseChatModel:
        """Return the model that thinks for an agent in one turn."""
        return self._router.model(profile.tier, caller=caller)

    async def thinks(self, profile: Profile | None = None) -> str:
        """Return who would answer now: provider:model, or "command" when there is no model."""
        return await self._thinks((profile or self.roster.supervisor).tier)

    async def sees(self) -> bool:
        """Say whether a model sees pictures, and another one thinks about what it saw."""
        return COMMAND not in {await self._thinks("vision"), await self.thinks()}

    def eyes(self, caller: Caller) -> BaseChatModel:
        """Return the model that sees."""
        return self._router.model("vision", caller=caller)

    async def _thinks(self, tier: str) -> str:
        found = await self._router.candidates(tier)
        return f"{found[0].place.name}:{found[0].model}" if found else COMMAND

    def command(self, said: str, caller: Caller) -> tuple[str, dict[str, Any]] | None:
        """Return the call that a message plainly is: a command, or a sentence of a tool.

        Of a person also one they may not make: then the executor says why, where a model or
        command mode would look for something else that fits.
        """
        visible = self.visible(caller, by_model=False)
        call = self._commands.match_exact(said, visible)
        if call is None and caller.surface is not Surface.SCHEDULE:
            mine = set(visible)
            others = [tool for tool in self.executor.registry if tool not in mine]
            call = self._commands.match_exact(said, others) if others else None
        return None if call is None else (call.name, call.arguments)

    def settled(self, typed: str, caller: Caller, turn_id: str) -> Plan:
        """Return the steps that a message says in so many words; one command alone needs none."""
        effects = [t for t in self.visible(caller, by_model=True) if t.effect is not Effect.READ]

        def find(clause: str) -> Call | None:
            return self._commands.match_exact(clause, effects)

        return by_words(typed, find, self.executor.registry.get, turn_id)

    def visible(self, caller: Caller, *, by_model: bool) -> list[AnyTool]:
        """Return the tools that this caller, or a model for them, may be offered."""
        return self.executor.visible(caller.principal, by_model=by_model, surface=caller.surface)

    async def fitting(
        self, text: str, caller: Caller, profile: Profile, *, read_only: bool
    ) -> Sequence[str]:
        """Return the names of the tools that fit a text, best first."""
        tools = self.visible(caller, by_model=True)
        return await fitting(text, tools, profile, self._commands.index, read_only=read_only)

    def concerned(self, tools: Sequence[str]) -> list[Profile]:
        """Return the sub-agents whose field the best of these tools belong to."""
        features = {self.executor.registry.get(name).feature for name in tools[:_TELLING]}
        return [
            agent
            for agent in self.roster.agents
            if any(agent.may_use(feature) for feature in features)
        ]

    async def summary(self, transcript: Sequence[Message]) -> str:
        """Return a few sentences about a conversation."""
        return await summary_of(transcript, await self._summarist())

    async def shorten(self, session_id: str, thread: Sequence[AnyMessage]) -> None:
        """Replace the beginning of a long thread by its summary."""
        if len(thread) < LONG_THREAD:
            return
        messages = await shortened(thread, await self._summarist())
        if messages is not None:
            await self.graph.aupdate_state(
                {"configurable": {"thread_id": session_id}},
                {"messages": messages},
                as_node="model",
            )

    async def forget(self, session_id: str) -> None:
        """Delete the thread of a session that is gone."""
        await self._checkpoints.adelete_thread(session_id)

    async def _summarist(self) -> BaseChatModel | None:
        if await self._thinks("small") == COMMAND:
            return None
        return self._router.model("small", caller=None)


def _compiled(thinking: Thinking, adapter: ToolAdapter, checkpoints: Checkpoints | None) -> Graph:
    # The model belongs to the turn and comes with its context; this one is never asked.
    return create_agent(
        ParrotFakeChatModel(),
        [],
        middleware=[thinking, adapter],
        state_schema=ThreadState,
        context_schema=TurnContext,
        checkpointer=checkpoints,
    )
