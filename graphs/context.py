"""What a running graph knows of its turn: who asks, who thinks, and who listens."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, NotRequired

from langchain.agents import AgentState
from langchain_core.language_models.chat_models import BaseChatModel

from agents.profile import Profile
from graphs.events import ChatEvent
from nebula.auth.principal import Caller
from nebula.policy.labels import Label
from nebula.tool.executor import Executor

Emit = Callable[[ChatEvent], None]


def joined(names: Any) -> str:
    """Write names as one string: a checkpoint keeps strings in its own row, lists in others."""
    return " ".join(sorted(set(names)))


def _merged(before: str, after: str) -> str:
    return joined([*before.split(), *after.split()])


class ThreadState(AgentState[Any]):
    """What a thread remembers beside its messages."""

    turn_id: NotRequired[str]
    """The turn that wrote last."""
    offered: NotRequired[str]
    """The tools of this turn, fixed when it starts; nothing else runs."""
    plain: NotRequired[str]
    """The id of the one call that a person typed in so many words, or empty."""
    labels: NotRequired[Annotated[str, _merged]]
    """Where the thread's text came from; it only grows."""


def labels_of(state: Mapping[str, Any], caller: Caller) -> frozenset[Label]:
    """Return the labels a call made from this thread carries."""
    return caller.labels | {Label(name) for name in str(state.get("labels", "")).split()}


@dataclass
class Meter:
    """What a turn has cost so far."""

    model_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    model: str = ""
    """Who answered last."""


@dataclass(frozen=True)
class TurnContext:
    """One agent at work in one turn. The graphs are compiled once; this changes per turn."""

    turn_id: str
    thread_id: str
    caller: Caller
    profile: Profile
    executor: Executor
    model: BaseChatModel
    emit: Emit
    command: "tuple[str, dict[str, Any]] | None" = None
    """The call that the message plainly is, if it is one: no model is asked."""
    read_only: bool = False
    meter: Meter = field(default_factory=Meter)
