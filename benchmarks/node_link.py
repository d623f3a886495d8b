"""A control plane and an agent in two network namespaces, and the link between them cut and mended.

Root and `unshare` are needed:  unshare -n python -m benchmarks.node_link
It prints when the agent's work ended and when the control plane noticed, and fails when work
outlived its lease. Nothing outside the two namespaces is touched.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import uvicorn

from api.server import create_server
from nebula.db.embedded import EmbeddedPostgres
from nebula.db.migrate import migrate
from nebula.errors import Conflict, NebulaError
from nebula.log import configure_logging
from nebula.services.nodes.node import NodeHealth
from nebula.services.nodes.registry import NodeRegistry
from nebula.settings import Settings
from node.protocol import Renewal, TaskRequest
from tests.node.agent import AgentProcess, alive

HERE, THERE = "100.64.77.1", "100.64.77.2"
LEASE_SECONDS = 3.0
PORT = 8420


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Namespace:
    """A network namespace with one end of a pair of virtual cards."""

    def __enter__(self) -> "Namespace":
        self.keeper = subprocess.Popen(["unshare", "-n", "sleep", "600"])
        time.sleep(0.3)
        ip("link", "set", "lo", "up")
        ip(
            "link",
            "add",
            "nc0",
            "type",
            "veth",
            "peer",
            "name",
            "nc1",
            "netns",
            str(self.keeper.pid),
        )
        ip("addr", "add", f"{HERE}/30", "dev", "nc0")
        ip("link", "set", "nc0", "up")
        for words in (("addr", "add", f"{THERE}/30", "dev", "nc1"), ("link", "set", "nc1", "up"),
                      ("link", "set", "lo", "up")):  # fmt: skip
            subprocess.run([*self.inside, "ip", *words], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.keeper.kill()
        self.keeper.wait()

    @property
    def inside(self) -> list[str]:
        return ["nsenter", "-t", str(self.keeper.pid), "-n"]


class FarAgent(AgentProcess):
    """An agent that runs inside the other namespace."""

    def __init__(self, home: Path, there: Namespace) -> None:
        super().__init__(home, f"http://{HERE}:{PORT}", name="far")
        self.there = there
        self.port = 8431

    def _argv(self, command: str, *more: str) -> list[str]:
        return [*self.there.inside, *super()._argv(command, *more)]

    def _answers(self) -> bool:
        try:
            with socket.create_connection((THERE, self.port), 1):
                return True
        except OSError:
            return False


@asynccontextmanager
async def control(home: Path) -> AsyncIterator[NodeRegistry]:
    with EmbeddedPostgres(home, {"fsync": "off"}) as database:
        await migrate(database.url)
        map_file = home / "service-map.yml"
        map_file.write_text("nodes: [{name: here}]\n")
        made = create_server(
            Settings(_env_file=None, home=home, database_url=database.url, service_map=map_file,
                     warm_start=False, workers=0, host=HERE)
        )  # fmt: skip
        config = uvicorn.Config(made, host=HERE, port=PORT, log_config=None, lifespan="on")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.05)
        try:
            yield made.state.doors.app.parts.nodes
        finally:
            server.should_exit = True
            await serving


async def seconds_until(true: Callable[[], Awaitable[bool]], most: float = 40.0) -> float:
    began = time.monotonic()
    while not await true():
        if time.monotonic() - began > most:
            raise AssertionError(f"not within {most:g} s")
        await asyncio.sleep(0.02)
    return time.monotonic() - began


async def run(folder: Path, there: Namespace) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    async with control(folder / "home") as nodes:
        ends_at = [time.monotonic() + 3600.0]

        async def live(_: object, name: str) -> list[Renewal]:
            left = min(LEASE_SECONDS, ends_at[0] - time.monotonic())
            return [Renewal(0, 7, left)] if name == "far" and left > 0 else []

        nodes.live_leases = live
        agent = FarAgent(folder / "agent", there)
        agent.allow(train={"argv": ["sleep", "600"], "gpu": True})
        code, said = await agent.join((await nodes.create_token("bench")).token, "--bind", THERE)
        if code:
            raise AssertionError(said)
        await agent.start()

        async def is_now(health: NodeHealth) -> bool:
            return await nodes.health("far") is health

        rows.append(
            ("joined and heard", f"{await seconds_until(lambda: is_now(NodeHealth.ONLINE)):.2f} s")
        )
        client = await nodes.client("far")
        request = TaskRequest("t1", "train", gpu=0, token=7)
        began = time.monotonic()
        await client.start(request)
        rows.append(
            (
                "GPU task started over the link, lease confirmed",
                f"{(time.monotonic() - began) * 1000:.0f} ms",
            )
        )
        pid = agent.pid_of("t1")

        ip("link", "set", "nc0", "down")
        ends_at[0] = time.monotonic() + LEASE_SECONDS

        async def gone() -> bool:
            return not alive(pid)

        took = await seconds_until(gone)
        rows.append(
            (f"link down: work ended (its lease held {LEASE_SECONDS:g} s)", f"{took:.2f} s")
        )
        if took > LEASE_SECONDS + 0.5:
            raise AssertionError("work outlived its lease")
        late = await seconds_until(lambda: is_now(NodeHealth.LATE))
        rows.append(("link down: noticed as late", f"{took + late:.2f} s"))
        offline = await seconds_until(lambda: is_now(NodeHealth.OFFLINE))
        rows.append(("link down: noticed as offline", f"{took + late + offline:.2f} s"))
        try:
            await client.start(replace(request, task_id="t2"))
        except NebulaError as error:
            rows.append(("asked to start something meanwhile", error.code))

        ip("link", "set", "nc0", "up")
        rows.append(
            (
                "link up: online again",
                f"{await seconds_until(lambda: is_now(NodeHealth.ONLINE)):.2f} s",
            )
        )
        try:
            await client.start(replace(request, task_id="t3"))
        except Conflict as error:
            rows.append(("the old token after that", f"refused: {error}"))
        states = [x["state"] for x in agent.journal("ended")]
        rows.append(("the agent's journal", f"ended: {', '.join(states)}"))
        agent.signal(signal.SIGTERM)
        if agent.process is not None:
            await asyncio.to_thread(agent.process.wait, 30)
    return rows


def main() -> int:
    """Run it and print a table."""
    if os.geteuid() != 0 or [n for _, n in socket.if_nameindex()] != ["lo"]:
        sys.stderr.write(
            "Run it as root in a namespace: unshare -n python -m benchmarks.node_link\n"
        )
        return 1
    configure_logging(level="ERROR")
    with tempfile.TemporaryDirectory(prefix="node-link-") as name, Namespace() as there:
        folder = Path(name)
        (folder / "home").mkdir()
        rows = asyncio.run(run(folder, there))
    width = max(len(what) for what, _ in rows)
    for what, figure in rows:
        sys.stdout.write(f"{what:<{width}}  {figure}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
