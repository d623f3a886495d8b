"""The agent: everything it is made of, opened and closed together."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from node.clock import now
from node.config import Home, Identity
from node.control import Heart, control_http
from node.detect import machine, services
from node.errors import AgentError
from node.journal import Journal
from node.launch import end_for_good
from node.leases import Leases
from node.protocol import FoundService, Hardware, Heartbeat, Metrics
from node.supervisor import Supervisor, left_behind
from node.tasks import Tasks
from node.work import Work

_LOOK_SECONDS = 15.0
_HARDWARE_SECONDS = 600.0
_FENCE_SECONDS = 0.2
_MEASURE_SECONDS = 2.0


@dataclass
class Agent:
    """What the doors and the heartbeat share."""

    home: Home
    identity: Identity
    work: Work
    leases: Leases
    journal: Journal
    supervisor: Supervisor
    found: tuple[FoundService, ...] = ()
    hardware: Hardware | None = None
    _tasks: Tasks | None = field(default=None, init=False)
    _measuring: "asyncio.Task[Metrics] | None" = field(default=None, init=False)
    _measured: Metrics = field(default=Metrics(), init=False)
    heart: Heart | None = field(default=None, init=False)
    _told_hardware: Hardware | None = field(default=None, init=False)
    _telling: Hardware | None = field(default=None, init=False)

    @property
    def tasks(self) -> Tasks:
        """Return the tasks."""
        assert self._tasks is not None
        return self._tasks

    async def metrics(self) -> Metrics:
        """Say how busy the machine is now; a driver that hangs must not stop the heart."""
        if self._measuring is None or self._measuring.done():
            self._measuring = asyncio.create_task(
                asyncio.to_thread(
                    machine.metrics, self.home.path, self.supervisor.pids(), self.tasks.pids()
                )
            )
        done, _ = await asyncio.wait({self._measuring}, timeout=_MEASURE_SECONDS)
        if not done:
            # What the cards hold is then unknown, not what it was.
            return replace(self._measured, cards=())
        self._measured = self._measuring.result()
        return self._measured

    async def look(self) -> Hardware:
        """Look at the whole machine anew."""
        self.hardware = await asyncio.to_thread(machine.hardware, self.home.path)
        return self.hardware

    async def heartbeat(self, nonce: str) -> Heartbeat:
        """Make what is told every other second."""
        self._telling = self.hardware
        commands: tuple[str, ...] = ()
        recipes: tuple[str, ...] = ()
        with suppress(AgentError):
            commands = self.work.commands()
            recipes = tuple(r.name for r in self.work.recipes())
        return Heartbeat(
            nonce=nonce,
            metrics=await self.metrics(),
            tasks=self.tasks.reports(),
            services=self.supervisor.reports(),
            found=self.found,
            commands=commands,
            recipes=recipes,
            hardware=None if self.hardware == self._told_hardware else self.hardware,
            url=self.identity.url,
        )

    def heard(self) -> None:
        """Carry an answered heartbeat to those whom it concerns."""
        self._told_hardware = self._telling
        self.tasks.renew()

    async def keep_fencing(self) -> None:
        """End what outlived its lease, a few times a second, until cancelled."""
        while True:
            await self.tasks.fence()
            await asyncio.sleep(_FENCE_SECONDS)

    async def keep_looking(self) -> None:
        """Look for AI services, and now and then at the hardware, until cancelled."""
        looked = now()
        while True:
            self.found = await services.found(self.identity.bind)
            if self.hardware is None or now() - looked > _HARDWARE_SECONDS:
                await self.look()
                looked = now()
            await asyncio.sleep(_LOOK_SECONDS)


def say(text: str) -> None:
    """Write a line to the agent's own log, which is its standard error."""
    sys.stderr.write(f"nebula-node: {text}\n")
    sys.stderr.flush()


@asynccontextmanager
async def open_agent(home: Home) -> AsyncIterator[Agent]:
    """Open the agent: end what an earlier one left, then beat, fence and supervise.

    Raises:
        BadConfig: when this machine has not joined.
    """
    identity = home.identity()
    journal = Journal(home.path / "journal.jsonl")
    work, leases = Work(home), Leases()
    supervisor = Supervisor(home.path / "services", home.config, journal, identity.bind)
    agent = Agent(home, identity, work, leases, journal, supervisor)
    async with control_http(identity.ca) as http:
        heart = Heart(identity, http, leases, agent.heartbeat, agent.heard)
        agent.heart = heart
        agent._tasks = Tasks(home.path / "tasks", work, journal, leases, heart.beat)
        journal.write("opened", pid=os.getpid())
        await agent.tasks.recover()
        for pid, started in left_behind(journal):
            await end_for_good(pid, started)
        await agent.look()
        loops = [
            asyncio.create_task(work)
            for work in (heart.keep_beating(say), agent.keep_fencing(), agent.keep_looking())
        ]
        try:
            await supervisor.open()
            yield agent
        finally:
            await _stop(loops)
            await agent.tasks.close()
            await supervisor.close()
            journal.write("closed", pid=os.getpid())
            journal.close()


async def _stop(loops: Sequence["asyncio.Task[None]"]) -> None:
    for loop in loops:
        loop.cancel()
    await asyncio.gather(*loops, return_exceptions=True)
