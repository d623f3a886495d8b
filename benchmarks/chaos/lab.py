"""The processes of the chaos run: a database, a cache, a server, workers and agents, all real."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import psycopg

from benchmarks.chaos import effect, evidence, model_server
from benchmarks.chaos.evidence import Evidence
from benchmarks.chaos.models import Holder, map_of
from benchmarks.chaos.process import NOT_STARTED
from benchmarks.chaos.tools import COMMAND
from benchmarks.node_link import HERE, THERE, FarAgent, Namespace, ip
from nebula.app import App, open_app
from nebula.auth.principal import Principal, Role
from nebula.db.embedded import EmbeddedPostgres
from nebula.db.migrate import migrate
from nebula.db.valkey import _program
from nebula.packages import checkout
from nebula.services.sizes import GIB
from nebula.settings import Settings
from node.journal import Journal
from tests.node.agent import AgentProcess, free_port

LEASE_SECONDS = 8.0
GRACE_SECONDS = 2.0
CARDS = {"one": (8 * GIB, 8 * GIB), "two": (8 * GIB, 12 * GIB)}
HOLDERS = {"one": 0, "two": 1}
"""The card of each machine on which its server holds models."""
FAR = "two"
"""The machine behind the link, where there is one."""
OWNERS = ("ada", "bob", "eve")


class Program:
    """A process that is killed, frozen and started again; one fault at a time."""

    def __init__(self, name: str, argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        """Take what to start, and where its words go."""
        self.name = name
        self.busy = asyncio.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self._argv = argv
        self._env = env
        self._log = log

    async def start(self) -> None:
        """Start it; it is ready when it is ready."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._argv, env=self._env, stdout=log, stderr=log, cwd=checkout(),
                start_new_session=True,
            )  # fmt: skip

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)


class Agent(Program):
    """A node's agent with simulated cards."""

    def __init__(self, agent: AgentProcess) -> None:
        """Take the process behind it."""
        super().__init__(f"agent {agent.name}", (), {}, Path())
        self.agent = agent
        self.holder_busy = asyncio.Lock()

    async def start(self) -> None:
        """Start it; when the machine is too busy for it to answer in time, start it again."""
        while True:
            try:
                await self.agent.start()
            except AssertionError:
                self.agent.kill()
            else:
                self.process = self.agent.process
                return

    def holder(self) -> psutil.Process | None:
        """Return its server of models, when that runs."""
        for line in reversed(self.agent.journal("service_started", "service_ended")):
            with contextlib.suppress(psutil.Error):
                running = line["event"] == "service_started"
                return psutil.Process(line["pid"]) if running else None
        return None

    def wardens(self) -> list[psutil.Process]:
        """Return the processes that stand beside its programs."""
        assert self.process is not None
        with contextlib.suppress(psutil.Error):
            return psutil.Process(self.process.pid).children()
        return []


class Lab:
    """Everything that runs."""

    def __init__(
        self, home: Path, database: EmbeddedPostgres, app: App, there: Namespace | None
    ) -> None:
        """Take the folder, the database and our own App, which makes users and approves.

        With a namespace, the second machine lives there, behind a link that can be cut.
        """
        self.there = there
        self.link_busy = asyncio.Lock()
        self.host = HERE if there else "127.0.0.1"
        self.home = home
        self.database = database
        self.database_busy = asyncio.Lock()
        self.ended: list[str] = []
        """What ended by itself although it had started."""
        self.app = app
        self.out = home / "out"
        self.port = free_port()
        self.owners: dict[str, tuple[Principal, httpx.AsyncClient]] = {}
        self.agents: dict[str, Agent] = {}
        self.holders = {
            name: Holder(node=name, gpu=gpu, port=free_port()) for name, gpu in HOLDERS.items()
        }
        self._env = {
            **{k: v for k, v in os.environ.items() if k in {"PATH", "HOME", "LANG", "TMPDIR"}},
            "PYTHONPATH": str(checkout()),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "DATABASE_URL": database.url,
            "REDIS_URL": f"unix://{home}/valkey.sock",
            "OLLAMA_HOST": f"http://127.0.0.1:{self.holders['one'].port}",
            "JARVIS_HOME": str(home),
            "JARVIS_SERVICE_MAP": str(home / "service-map.yml"),
            "JARVIS_HOST": self.host,
            "JARVIS_PORT": str(self.port),
            "JARVIS_WORKERS": "2",
            "JARVIS_MAX_EFFECTS_PER_MINUTE": "1000000",
            "JARVIS_GPU_LEASE_SECONDS": f"{LEASE_SECONDS:g}",
            "JARVIS_GPU_GRACE_SECONDS": f"{GRACE_SECONDS:g}",
            "JARVIS_GPU_PICKUP_SECONDS": "15",
            "JARVIS_GPU_COMEBACK_SECONDS": "3",
            "JARVIS_GPU_OBSERVE_SECONDS": "1",
            "JARVIS_GPU_IDLE_OBSERVE_SECONDS": "3",
        }
        quiet = ["--save", "", "--appendonly", "no", "--dir", str(home), "--port", "0"]
        cache = [str(_program()), "--unixsocket", f"{home}/valkey.sock", *quiet]
        self.cache = Program("valkey", cache, self._env, home / "valkey.log")
        self.server = self._ours("server")
        self.workers = [self._ours("worker", 1), self._ours("worker", 2)]

    async def look_after(self) -> None:
        """Start again what could not start, as a service manager does; nothing else ends by itself."""
        while True:
            for program in (self.server, *self.workers):
                code = None if program.process is None else program.process.poll()
                if code is None or program.busy.locked():
                    continue
                if code != NOT_STARTED:
                    self.ended.append(f"{program.name} ended by itself with {code}")
                async with program.busy:
                    await program.start()
            await asyncio.sleep(0.5)

    def _ours(self, what: str, number: int = 0) -> Program:
        argv = [sys.executable, "-m", "benchmarks.chaos.process", what]
        name = f"{what} {number}" if number else what
        return Program(name, argv, self._env, self.home / f"{name.replace(' ', '-')}.log")

    @property
    def url(self) -> str:
        """Return the server's address."""
        return f"http://{self.host}:{self.port}"

    @property
    def programs(self) -> list[Program]:
        """Return every process but the database's."""
        return [self.cache, self.server, *self.workers, *self.agents.values()]

    async def open(self) -> None:
        """Start everything, and wait until the cards are there."""
        (self.out / "runs").mkdir(parents=True)
        (self.out / "keys").mkdir()
        (self.out / "models").mkdir()
        await self.cache.start()
        await self.server.start()
        for name in OWNERS:
            who = await self.app.parts.auth.create_user(name, Role.ADMIN)
            key = await self.app.parts.auth.keys.create(who.id, "chaos", role=Role.ADMIN)
            headers = {"Authorization": f"Bearer {key.key}"}
            http = httpx.AsyncClient(
                base_url=self.url, headers=headers, timeout=15,
                trust_env=False,
            )  # fmt: skip
            self.owners[name] = (who, http)
        await self._served()
        await asyncio.gather(*(self._join(name, cards) for name, cards in CARDS.items()))
        services = self.home / "service-map.d" / "models.yml"
        services.write_text(json.dumps(map_of(self.holders.values())))
        await asyncio.gather(*(self._holds(holder) for holder in self.holders.values()))
        for worker in self.workers:
            await worker.start()

    async def _served(self) -> None:
        _, http = self.owners[OWNERS[0]]
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if (await http.get("/api/tools")).status_code == 200:
                    return
            assert self.server.process is not None and self.server.process.poll() is None, (
                self.home / "server.log"
            ).read_text()[-4000:]
            await asyncio.sleep(0.1)

    async def _join(self, name: str, cards: Sequence[int]) -> None:
        bind, agent = "127.0.0.1", AgentProcess(self.home / name, self.url, name=name)
        if self.there is not None and name == FAR:
            bind, agent = THERE, FarAgent(self.home / name, self.there)
            agent.control, agent.name = self.url, name
        folders = [self.out / "cards" / f"{name}-{index}" for index in range(len(cards))]
        for folder in folders:
            folder.mkdir(parents=True)
        fitted = [
            {"total": total, "held": str(folder)}
            for total, folder in zip(cards, folders, strict=True)
        ]
        (agent.home / "cards.json").write_text(json.dumps(fitted))
        argv = [sys.executable, "-S", "-E", effect.__file__, str(self.out)]
        agent.configure(
            commands={COMMAND: {"argv": argv, "gpu": True, "extra_args": True}},
            services={"models": self.holders[name].entry(self.out, bind)},
        )
        token = await self.app.parts.nodes.create_token("chaos")
        code, said = await agent.join(token.token, "--bind", bind)
        assert code == 0, said
        self.agents[name] = Agent(agent)
        await self.agents[name].start()

    def address(self, holder: Holder) -> str:
        """Return where a server of models answers."""
        bind = THERE if self.there is not None and holder.node == FAR else "127.0.0.1"
        return f"http://{bind}:{holder.port}"

    async def holding(self, holder: Holder) -> frozenset[str] | None:
        """Return the models that a server says it holds; None when it does not answer."""
        with contextlib.suppress(httpx.HTTPError):
            async with httpx.AsyncClient(trust_env=False, timeout=2) as http:
                answer = await http.get(f"{self.address(holder)}/api/ps")
            models = answer.json()["models"]
            return frozenset(m["name"].removesuffix(":latest") for m in models)
        return None

    async def _holds(self, holder: Holder) -> None:
        while await self.holding(holder) is None:
            await asyncio.sleep(0.2)

    async def residents(self) -> dict[tuple[str, str], str]:
        """Return the state of each model in the table, by service and model."""
        query = b"SELECT service, coalesce(model, ''), state FROM gpu_residents"
        async with await psycopg.AsyncConnection.connect(self.database.url) as db:
            rows = await (await db.execute(query)).fetchall()
        return {(service, model): state for service, model, state in rows}

    def link(self, state: str) -> None:
        """Cut the link to the far machine (`down`), or mend it (`up`)."""
        ip("link", "set", "nc0", state)

    async def unfinished(self) -> int:
        """Count the jobs that have not ended."""
        query = "SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')"
        return await self._count(query)

    async def promised(self) -> int:
        """Count the leases that have not ended."""
        return await self._count("SELECT count(*) FROM gpu_leases WHERE state <> 'ended'")

    async def _count(self, query: str) -> int:
        async with await psycopg.AsyncConnection.connect(self.database.url) as db:
            row = await (await db.execute(query.encode())).fetchone()
        assert row is not None
        return int(row[0])

    def survivors(self, program: str = effect.__file__) -> list[str]:
        """Return the programs of agents that live: the work on cards, or the servers of models."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if program in words and any(str(self.out) in word for word in words):
                found.append(f"process {process.pid}")
        return found

    def evidence(self, acknowledged: Mapping[str, str]) -> Evidence:
        """Gather everything that was left behind."""
        tasks = []
        for name, agent in self.agents.items():
            journal = Journal(agent.agent.home / "journal.jsonl")
            tasks += evidence.read_journal(name, journal.read())
            journal.close()
        return Evidence(
            runs=evidence.read_runs(self.out),
            effects=evidence.read_effects(self.out),
            tasks=tasks,
            acknowledged=acknowledged,
            models=evidence.read_models(self.out),
            survivors=self.survivors(),
            **evidence.read_tables(self.database.url),
        )

    async def close(self) -> None:
        """End every process, frozen ones too."""
        for program in self.programs:
            process = program.process
            if process is not None and process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    program.signal(signal.SIGCONT)
                program.kill()
        for _, http in self.owners.values():
            await http.aclose()
        # The wardens saw their agents go, and end what is left.
        for _ in range(100):
            if not self.survivors() and not self.survivors(model_server.__file__):
                break
            await asyncio.sleep(0.1)


@asynccontextmanager
async def open_lab(home: Path, there: Namespace | None = None) -> AsyncIterator[Lab]:
    """Start everything in a folder, and end it all afterwards."""
    (home / "service-map.yml").write_text("nodes: [{name: here}]\n")
    with EmbeddedPostgres(home, {"fsync": "off"}) as database:
        await migrate(database.url)
        settings = Settings(
            _env_file=None,
            home=home,
            database_url=database.url,
            service_map=home / "service-map.yml",
            warm_start=False,
            workers=0,
        )
        async with open_app(settings) as app:
            lab = Lab(home, database, app, there)
            try:
                await lab.open()
                care = asyncio.create_task(lab.look_after())
                try:
                    yield lab
                finally:
                    care.cancel()
                    await asyncio.wait([care])
            finally:
                await lab.close()
