"""What a running graph knows of its turn: who asks, who thinks, and who listens."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Annotated, Any, NotRequired

from langchain.agents import AgentState
from langchain_core.language_models.chat_models import BaseChatModel

from agents.profile import Profile
from graphs.events import ChatEvent
from nebula.auth.principal import Caller
from nebula.policy.labels import Label
from nebula.policy.plan import Plan, read
from nebula.policy.words import LONGEST
from nebula.tool.executor import Executor
from nebula.tool.result import Block

Emit = Callable[[ChatEvent], None]


def joined(names: Any) -> str:
    """Write names as one string: a checkpoint keeps strings in its own row, lists in others."""
    return " ".join(sorted(set(names)))


def _merged(before: str, after: str) -> str:
    return joined([*before.split(), *after.split()])


_BETWEEN = "\x1e"
_REMEMBERED = 8_000
"""Characters of a person's own words that a thread keeps; the oldest go first."""


def typed(text: str) -> str:
    """Return what a thread keeps of what a person typed: too long a text was pasted."""
    return text.replace(_BETWEEN, " ") if len(text) <= LONGEST else ""


def _longer(before: str, after: str) -> str:
    said = [each for each in (*before.split(_BETWEEN), after) if each]
    while sum(map(len, said)) > _REMEMBERED:
        del said[0]
    return _BETWEEN.join(said)


def _latest(_before: str, after: str) -> str:
    return after


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
    words: NotRequired[Annotated[str, _longer]]
    """What the person typed themselves: no attachment, no summary, nothing a model wrote."""
    plan: NotRequired[Annotated[str, _latest]]
    """The steps of this request that were fixed before anything from outside was read."""


def labels_of(state: Mapping[str, Any], caller: Caller) -> frozenset[Label]:
    """Return the labels a call made from this thread carries."""
    return caller.labels | {Label(name) for name in str(state.get("labels", "")).split()}


def words_of(state: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the messages that a person typed in this thread."""
    return tuple(each for each in str(state.get("words", "")).split(_BETWEEN) if each)


def plan_of(state: Mapping[str, Any]) -> Plan:
    """Return the steps that this request has fixed."""
    return read(str(state.get("plan", "")))


def as_agent(caller: Caller, profile: Profile) -> Caller:
    """Return a caller with no more rights than the agent that acts for them has."""
    if profile.grant is None:
        return caller
    return replace(caller, principal=caller.principal.narrowed(profile.grant))


@dataclass
class Meter:
    """What a turn has cost so far."""

    model_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    model: str = ""
    """Who answered last."""
    money: Decimal = Decimal(0)
    """What its calls cost, as their tools say."""
    stopped: str = ""
    """Which limit ended it before its work was done."""

    @property
    def tokens(self) -> int:
        """Return the tokens read and written."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Allowance:
    """What a turn of an autonomous agent may use up; None is no limit."""

    tokens: int
    money: Decimal | None = None


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
    rehearsal: bool = False
    """A dry run: what would change something is noted and not done."""
    allowance: Allowance | None = None
    meter: Meter = field(default_factory=Meter)
    shown_once: dict[str, list[Block]] = field(default_factory=dict)
    """By call: what only whoever follows the turn now may see of its result."""
