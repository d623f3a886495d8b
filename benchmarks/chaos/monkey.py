"""The seeded monkey: which fault comes next, to whom, and for how long."""

import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import psycopg

from benchmarks.chaos.lab import LEASE_SECONDS, Agent, Lab, Program

_BACKENDS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
)
Fault = Callable[[], Awaitable[bool]]


class Monkey:
    """Breaks things until it is told to stop; what it broke it starts again."""

    def __init__(self, lab: Lab, seed: int, *, pause: float) -> None:
        """Take what to break; `pause` is the mean time between two faults, in seconds."""
        self.faults = Counter[str]()
        self.log: list[str] = []
        self._lab = lab
        self._random = random.Random(seed)
        self._pause = pause
        self._under_way: set[asyncio.Task[None]] = set()

    async def rage(self, seconds: float) -> None:
        """Break things for some time, and wait until all that was broken is up again."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.sleep(self._pause * self._random.uniform(0.3, 1.7))
            name, fault = self._next()
            task = asyncio.create_task(self._do(name, fault))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        while self._under_way:
            await asyncio.gather(*self._under_way)

    async def _do(self, name: str, fault: Fault) -> None:
        began = time.time()
        if await fault():
            self.faults[name] += 1
            self.log.append(f"{began:.3f} {time.time():.3f} {name}")

    def _next(self) -> tuple[str, Fault]:
        """Choose a fault; all its figures are drawn now, so that a seed gives the same run."""
        lab, draw = self._lab, self._random
        worker = draw.choice(lab.workers)
        agent = draw.choice(list(lab.agents.values()))
        program = draw.choice([lab.server, *lab.workers, *lab.agents.values()])
        down, frozen = draw.uniform(0.0, 3.0), LEASE_SECONDS * draw.uniform(1.1, 1.6)
        nap = draw.uniform(0.05, 1.5)
        pick = draw.random()
        faults: dict[str, tuple[int, Fault]] = {
            "kill -9 of a worker": (5, lambda: self._killed(worker, down)),
            "kill -9 of an agent": (5, lambda: self._killed(agent, down)),
            "kill -9 of the server": (3, lambda: self._killed(lab.server, down)),
            "kill -9 of a task's warden": (2, lambda: self._warden(agent.name, pick)),
            "frozen past the lease, woken": (5, lambda: self._frozen(program, frozen)),
            "frozen for a moment": (2, lambda: self._frozen(program, nap)),
            "kill -9 of a server of models": (4, lambda: self._holder(agent, signal.SIGKILL, nap)),
            "server of models frozen, woken": (
                4, lambda: self._holder(agent, signal.SIGSTOP, frozen * pick),
            ),
            "PostgreSQL stopped and started": (1, lambda: self._stopped(down)),
            "kill -9 of PostgreSQL": (1, lambda: self._crashed(down)),
            "all backends killed": (2, self._storm),
            "kill -9 of Valkey": (1, lambda: self._killed(lab.cache, down)),
            "link cut and mended": (4 if lab.there else 0, lambda: self._cut(frozen * 1.2)),
        }  # fmt: skip
        name = draw.choices(list(faults), [weight for weight, _ in faults.values()])[0]
        return name, faults[name][1]

    async def _killed(self, program: Program, down: float) -> bool:
        if program.busy.locked():
            return False
        async with program.busy:
            program.kill()
            await asyncio.sleep(down)
            await program.start()
        return True

    async def _frozen(self, program: Program, seconds: float) -> bool:
        if program.busy.locked():
            return False
        async with program.busy:
            program.signal(signal.SIGSTOP)
            await asyncio.sleep(seconds)
            program.signal(signal.SIGCONT)
        return True

    async def _warden(self, agent: str, pick: float) -> bool:
        found = next(a for a in self._lab.agents.values() if a.name == agent)
        # A warden and its agent at once leave nobody to end the work: that is not promised.
        if found.busy.locked():
            return False
        async with found.busy:
            wardens = found.wardens()
            if not wardens:
                return False
            with contextlib.suppress(psutil.Error):
                wardens[int(pick * len(wardens))].kill()
            await asyncio.sleep(1.0)
        return True

    async def _holder(self, agent: Agent, number: int, seconds: float) -> bool:
        """Kill an agent's server of models, or freeze it for a while."""
        found = agent.holder()
        if found is None or agent.holder_busy.locked():
            return False
        async with agent.holder_busy:
            with contextlib.suppress(psutil.Error):
                found.send_signal(number)
                if number == signal.SIGSTOP:
                    await asyncio.sleep(seconds)
                    found.send_signal(signal.SIGCONT)
        return True

    async def _stopped(self, down: float) -> bool:
        database = self._lab.database
        if self._lab.database_busy.locked():
            return False
        async with self._lab.database_busy:
            await asyncio.to_thread(database.stop)
            await asyncio.sleep(down)
            await asyncio.to_thread(database.start)
        return True

    async def _crashed(self, down: float) -> bool:
        database = self._lab.database
        if self._lab.database_busy.locked():
            return False
        async with self._lab.database_busy:
            pid = int((Path(database.data) / "postmaster.pid").read_text().split("\n", 1)[0])
            psutil.Process(pid).kill()
            await asyncio.sleep(down)
            await asyncio.to_thread(database.stop)  # leave what is dead, so that it is joined anew
            await asyncio.to_thread(database.start)
        return True

    async def _cut(self, seconds: float) -> bool:
        if self._lab.link_busy.locked():
            return False
        async with self._lab.link_busy:
            self._lab.link("down")
            await asyncio.sleep(seconds)
            self._lab.link("up")
        return True

    async def _storm(self) -> bool:
        if self._lab.database_busy.locked():
            return False
        async with self._lab.database_busy:
            address = self._lab.database.admin_url
            async with await psycopg.AsyncConnection.connect(address, autocommit=True) as admin:
                for _ in range(3):
                    await admin.execute(_BACKENDS)
                    await asyncio.sleep(0.2)
        return True
