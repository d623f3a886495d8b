"""One scheduler leads; when its process is killed another takes over, and nothing is lost."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import psycopg

from nebula.gpu.leases.need import GpuNeed
from nebula.gpu.policy.types import PriorityClass
from nebula.services.sizes import GIB
from nebula.settings import Settings
from tests.nebula.gpu.leases.conftest import MAP, OpenGpu

SDXL = GpuNeed(service="comfyui", model="SDXL", klass=PriorityClass.IMAGE)

_OTHER = """
import asyncio, sys
from pathlib import Path
import httpx
from nebula.db.engine import Database
from nebula.events.bus import Events
from nebula.gpu.leases.need import GpuNeed
from nebula.gpu.open import open_gpu
from nebula.gpu.policy.types import PriorityClass
from nebula.log import configure_logging
from nebula.settings import Settings
from tests.nebula.gpu.leases.conftest import PROMPT, QUICK

configure_logging(level="ERROR")

async def main():
    home, url = Path(sys.argv[1]), sys.argv[2]
    settings = Settings(_env_file=None, home=home, database_url=url, service_map=home / "service-map.yml")
    async with (
        httpx.AsyncClient() as http, Database(url) as db, Events(db) as events,
        open_gpu(settings, http, db, events, limits=QUICK, lease_settings=PROMPT, watch=False) as gpu,
    ):
        need = GpuNeed(service="comfyui", model="SDXL", klass=PriorityClass.IMAGE)
        async with gpu.leases.hold(need, owner_name="the one that dies"):
            print("holds", gpu.scheduler.leading, flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_two_processes_have_one_leader(open_lab: OpenGpu) -> None:
    async with open_lab() as one, open_lab() as other:
        one.scheduler.start()
        other.scheduler.start()
        async with asyncio.timeout(10):
            while not (one.scheduler.leading or other.scheduler.leading):
                await asyncio.sleep(0.01)
        async with one.leases.hold(SDXL):
            assert [one.scheduler.leading, other.scheduler.leading].count(True) == 1


async def test_a_leader_that_is_killed_is_followed_and_nothing_is_over_committed(
    open_lab: OpenGpu, settings: Settings, tmp_path: Path
) -> None:
    settings.service_map.write_text(MAP)
    script = tmp_path / "other.py"
    script.write_text(_OTHER)
    root = str(Path(__file__).parents[4])
    command = [sys.executable, str(script), str(settings.home), settings.database_url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": root})
    try:
        assert process.stdout is not None
        said = await asyncio.to_thread(process.stdout.readline)
        assert said.strip() == "holds True"
        process.send_signal(signal.SIGKILL)
        async with open_lab() as lab:
            before = await lab.leases.rows()
            (held,) = before.leases
            assert held.owner_name == "the one that dies"
            assert before.cards[0].reserved == 7 * GIB
            async with lab.leases.hold(SDXL, wait_seconds=30) as lease:
                assert lab.scheduler.leading
                assert lease.token > held.token
            states = await _states(settings.database_url)
        assert states[held.id] == "ended"
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


async def _states(url: str) -> dict[str, str]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        rows = await connection.execute("SELECT id, state FROM gpu_leases")
        return {str(key): str(state) for key, state in await rows.fetchall()}
