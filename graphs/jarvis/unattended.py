"""Lets autonomous agents run: begins what is due, looks after what runs, and sends reports."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from graphs.jarvis.errand import Errands, errand_of
from graphs.wording import delimited
from memory.turns import Turns
from nebula.auth.principal import Caller, Surface
from nebula.errors import Conflict, NebulaError, NoModel
from nebula.policy.labels import Label, tainted
from nebula.policy.plan import Plan, Step
from tools.agents import rights, telling
from tools.agents.beginning import beginning
from tools.agents.boards import Boards
from tools.agents.ending import Ending, settle
from tools.agents.listening import listen
from tools.agents.models import AgentRow, AgentRunRow
from tools.agents.runs import Start
from tools.agents.schemas import Handed
from tools.agents.stopping import STOPPED, to_stop
from tools.agents.thinking import check_thinks, purpose_of

if TYPE_CHECKING:
    from graphs.jarvis.service import Jarvis
    from nebula.app import App

log = structlog.get_logger(__name__)

_FATES = {
    "withdrawn": ("cancelled", "Its conversation went on without it."),
    "cancelled": ("cancelled", "It was stopped before its end."),
    "lost": ("failed", "The process that ran it ended."),
    "failed": ("failed", "It could not go on."),
}
_DELETED = ("cancelled", "Its conversation was deleted.")


class Unattended:
    """The agents of one process; any number of processes may look after them at once."""

    def __init__(self, app: "App", jarvis: "Jarvis", turns: Turns, errands: Errands) -> None:
        """Take the program, who runs turns, and where runs are kept."""
        self._app = app
        self._jarvis = jarvis
        self._turns = turns
        self._runs = errands.runs
        self._boards = Boards(app.parts)

    @property
    def duties(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """Return what is to be done again and again, each for itself."""
        return (self.listen, self.boards, self.begin, self.stop, self.look_after, self.tell)

    async def beat(self) -> None:
        """Do everything that is due, once."""
        for duty in self.duties:
            await duty()

    async def listen(self) -> None:
        """Put runs in line for what has happened."""
        await listen(self._app.parts, self._runs)

    async def boards(self) -> None:
        """Take every task that several agents work on its next step."""
        await self._boards.move_on()

    async def stop(self) -> None:
        """End the runs that somebody wants to end."""
        for agent, run in await to_stop(self._app.parts):
            if run.session_id is None:
                continue
            caller = Caller(rights.acting(agent), Surface.SCHEDULE, session_id=run.session_id)
            await self._jarvis.cancel(caller, run.session_id)
            # What it asked just now, after it was told to end.
            await self._app.parts.approvals.withdraw(run.session_id, STOPPED)

    async def begin(self) -> None:
        """Begin the runs that are in line."""
        for start in await self._runs.startable():
            await self._begin(start)

    async def tell(self) -> None:
        """Send the reports that are due."""
        for agent, run in await telling.take(self._app.parts):
            await self._tell(agent, run)

    async def tidy(self) -> None:
        """Forget runs of long ago."""
        await self._runs.prune()
        await self._boards.prune()

    async def _begin(self, start: Start) -> None:
        """Begin a run as a session of its owner."""
        agent, run = start.agent, start.run
        own_labels = frozenset(map(Label, run.labels))
        handed = [Handed.model_validate(each) for each in run.handed]
        own = purpose_of(agent, run.task)
        caller = Caller(
            rights.acting(agent, run.within),
            Surface.SCHEDULE,
            agent=agent.name,
            labels=own_labels.union(*(each.labels for each in handed)),
        )
        try:
            await check_thinks(self._app.parts, agent, run.task)
            caller = replace(caller, principal=await self._app.parts.auth.effective(caller))
            await self._jarvis.take_on(
                caller,
                _said(own, run.event, handed),
                # What came by way of outside text vouches for nothing.
                typed="" if tainted(own_labels) else own,
                errand=errand_of(start),
                begin=beginning(self._app.parts.events, agent, run),
            )
        except Conflict:
            return  # another process has begun it, or it was switched off meanwhile
        except NoModel as error:
            # It has not begun, so it costs the agent nothing: no failure, none of its runs.
            await self._settle(run.id, Ending("skipped", problem=str(error), code=error.code))
        except NebulaError as error:
            if error.retryable:
                raise
            await self._settle(run.id, Ending("failed", problem=str(error)))

    async def look_after(self) -> None:
        """End the runs whose turn has ended without saying so."""
        working = await self._runs.working()
        if not working:
            return
        fates = await self._turns.fates(list(working))
        for turn_id, run_id in working.items():
            fate = _FATES.get(fates[turn_id]) if turn_id in fates else _DELETED
            if fate is not None:
                await self._settle(run_id, Ending(fate[0], problem=fate[1]))

    async def _settle(self, run_id: str, ending: Ending) -> None:
        parts = self._app.parts
        async with parts.db.bare() as db, db.transaction():
            await settle(db, parts.events, run_id, ending)

    async def _tell(self, agent: AgentRow, run: AgentRunRow) -> None:
        """Send a report where the owner said, as a step that was fixed when the agent was made."""
        assert agent.report_to is not None
        call_id = f"agent-report:{run.id}:{run.state}:{len(run.did)}"
        to = {"channels": [agent.report_to]}
        caller = Caller(
            rights.reporting(agent),
            Surface.SCHEDULE,
            session_id=run.session_id,
            agent=agent.name,
            labels=frozenset(map(Label, run.labels)),
            words=(f"report to {agent.report_to}",),
            plan=Plan((Step("notify_send", to, call_id, by_words=True),)),
        )
        arguments = {**to, **telling.message_of(agent, run)}
        try:
            await self._app.executor.execute(
                "notify_send", arguments, caller=caller, call_id=call_id
            )
            told = f"Sent to {agent.report_to}."
        except NebulaError as error:
            log.warning("agent_report_not_sent", run=run.id, reason=str(error))
            told = f"Not sent to {agent.report_to}: {error}"
        await telling.note(self._app.parts, run.id, told)


def _said(own: str, event: str, handed: Sequence[Handed]) -> str:
    """Return what a run begins with: its purpose and task, and apart from them what others said."""
    parts = [own]
    if event:
        parts.append(f"It starts because of {event}")
    for each in handed:
        said = delimited(each.text, each.agent) if tainted(frozenset(each.labels)) else each.text
        parts.append(f"The agent {each.agent} ({each.state}) reports:\n{said}")
    return "\n\n".join(parts)
