"""A run of an autonomous agent, as its turn knows it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agents.profile import Limits, Profile
from graphs.context import Allowance, Meter
from memory.turns import Also, Answer, Ending
from nebula.db.bare import Statements
from nebula.errors import TimedOut
from nebula.policy.labels import Label
from nebula.tool.definition import Effect
from tools.agents.ending import LIMITS, settle
from tools.agents.ending import Ending as RunEnding
from tools.agents.runs import Runs, Start

if TYPE_CHECKING:
    from nebula.app import Parts

_PROMPT = "unattended.md"
_CALLS_PER_STEP = 4
_TOOLS = 12


@dataclass(frozen=True)
class Errand:
    """What a run may use, and what is left of its limits."""

    run_id: str
    profile: Profile
    dry_run: bool
    seconds: float
    minutes: float
    allowance: Allowance

    def overrun(self) -> TimedOut:
        """Return what is told when its time is used up."""
        return TimedOut(
            f"It stopped: its {self.minutes:g} minutes are used up.",
            hint="Give it more with agents_update, limits minutes.",
        )


@dataclass
class Outcome:
    """How a stretch of a turn went, beside its answer."""

    ending: Ending
    meter: Meter
    seconds: float
    problem: str = ""
    code: str = ""
    approvals: list[str] = field(default_factory=list)


class Errands:
    """Connects turns with the runs they are."""

    def __init__(self, parts: "Parts") -> None:
        """Take the parts of the program."""
        self.runs = Runs(parts)
        self._parts = parts

    async def of_turn(self, turn_id: str) -> Errand | None:
        """Return the run that goes on with a turn; None when there is none any more."""
        start = await self.runs.of_turn(turn_id)
        return None if start is None else errand_of(start)

    def ended(self, errand: Errand, outcome: Outcome, answer: Answer) -> Also:
        """Return what writes the run's end within the transaction that ends its turn."""
        state, problem = _state_of(outcome, answer)
        ending = RunEnding(
            state=state,
            report=answer.text,
            problem=problem,
            code=LIMITS if state == "stopped" else outcome.code,
            did=self._effects(answer),
            seconds=outcome.seconds,
            model_calls=outcome.meter.model_calls,
            tokens=outcome.meter.tokens,
            labels=_labels(outcome, answer),
        )

        async def write(db: Statements) -> None:
            await settle(db, self._parts.events, errand.run_id, ending)

        return write

    def _effects(self, answer: Answer) -> list[dict[str, object]]:
        """Return the calls that change something: done, waiting, failed, or only wanted."""
        registry = self._parts.registry
        return [
            {
                "call_id": call.call_id,
                "tool": call.name,
                "arguments": call.arguments,
                "status": call.status,
            }
            for call in answer.tool_calls
            if call.name in registry and registry.get(call.name).effect is not Effect.READ
        ]


def errand_of(start: Start) -> Errand:
    """Return a run as its turn needs it."""
    agent, limits = start.agent, start.limits
    return Errand(
        run_id=start.run.id,
        profile=Profile(
            name=agent.name,
            purpose=agent.purpose[:160],
            features=frozenset(agent.features),
            tools=frozenset(agent.tools),
            prompt=_PROMPT,
            tier="small" if agent.tier == "small" else "large",
            limits=Limits(steps=limits.steps, calls=limits.steps * _CALLS_PER_STEP, tools=_TOOLS),
        ),
        dry_run=start.run.dry_run,
        seconds=start.seconds,
        minutes=limits.minutes,
        allowance=Allowance(start.tokens, start.money),
    )


def _labels(outcome: Outcome, answer: Answer) -> frozenset[Label]:
    """Return where what a turn read came from; where one broke off, it may have been anywhere."""
    broke = {Label.OUTSIDE} if outcome.ending in {"failed", "cancelled"} else set()
    return frozenset(answer.labels) | broke


def _state_of(outcome: Outcome, answer: Answer) -> tuple[str, str]:
    stopped = outcome.meter.stopped
    match outcome.ending:
        case "waiting":
            waits = [call.name for call in answer.tool_calls if call.status == "waiting"]
            return "waiting", f"{', '.join(waits) or 'A call'} needs an approval."
        case "cancelled":
            return "cancelled", "It was stopped before its end."
        case "answered" if not stopped:
            return "done", ""
        case "answered":
            return "stopped", stopped
        case _:
            return ("stopped" if stopped else "failed"), outcome.problem
