"""P6: what a switch of models costs beyond the load itself.

Two models of 7 GB share a pretended card of 12 GB; loading one takes 0.3 s, dropping one no time.
Warm: the model is loaded, and a request takes a lease, asks and gives it back. Swap: the other
model is loaded, so it is evicted, its memory seen free, and the wanted one loaded. The peers do
the same over HTTP: a bare sequence of unload and load, and a small proxy that swaps as llama-swap
does; neither looks at memory, queues, or survives a restart. Goal: ≤ 5 ms warm, ≤ 50 ms swap (p95).
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import httpx

from benchmarks.p6_servers import LOAD_SECONDS
from benchmarks.table import show
from nebula.db.embedded import EmbeddedPostgres
from nebula.db.engine import Database
from nebula.db.migrate import migrate
from nebula.events.bus import Events
from nebula.gpu.footprints.estimate import quantile
from nebula.gpu.leases.need import GpuNeed
from nebula.gpu.nvml import Nvml
from nebula.gpu.open import Gpu, open_gpu
from nebula.gpu.policy.types import PriorityClass
from nebula.log import configure_logging
from nebula.settings import Settings

WARM, SWAPS = 200, 40
MAP = """\
nodes:
  - name: pc
    reserve: 0.1 GB
    gpus: [{{vram: 12 GB}}]
services:
  - name: ollama
    kind: ollama
    node: pc
    url: {url}
    models:
      - {{name: a, vram: 7 GB, load_seconds: 0.3}}
      - {{name: b, vram: 7 GB, load_seconds: 0.3}}
"""

Work = Callable[[str], Awaitable[None]]


class NoNvml:
    """Stands for NVML on a machine without a card: sizes come from the service and the map."""

    class NVMLError(Exception):
        """Any failure."""

    NVMLError_LibraryNotFound = NVMLError
    NVMLError_DriverNotLoaded = NVMLError

    def nvmlInit(self) -> None:
        """Find no driver."""
        raise self.NVMLError("no driver")


async def measure(work: Work, *, swap: bool, count: int) -> list[float]:
    """Return the seconds of each request; the first ones are not counted."""
    await work("a")
    found = []
    for number in range(count):
        name = "ab"[(number + 1) % 2] if swap else "a"
        begun = time.perf_counter()
        await work(name)
        found.append(time.perf_counter() - begun)
    return found


@contextlib.contextmanager
def servers() -> Iterator[tuple[str, str]]:
    """Run the server and the proxy in a process of their own."""
    ports = [_free_port(), _free_port()]
    command = [sys.executable, "-m", "benchmarks.p6_servers", *map(str, ports)]
    process = subprocess.Popen(command)
    try:
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        transport = httpx.HTTPTransport(retries=0)
        with httpx.Client(transport=transport) as http:
            for _ in range(200):
                with contextlib.suppress(httpx.HTTPError):
                    http.get(f"{urls[0]}/api/ps")
                    break
                time.sleep(0.05)
        yield urls[0], urls[1]
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@contextlib.asynccontextmanager
async def ours(home: Path, url: str, http: httpx.AsyncClient) -> AsyncIterator[Gpu]:
    """Open the engine over a database of its own."""
    map_file = home / "map.yml"
    map_file.write_text(MAP.format(url=url))
    with EmbeddedPostgres(home) as server:
        await migrate(server.url)
        settings = Settings(
            _env_file=None, home=home, database_url=server.url, service_map=map_file
        )
        async with (
            Database(server.url) as db,
            Events(db) as events,
            open_gpu(settings, http, db, events, nvml=Nvml(NoNvml), watch=False) as gpu,
        ):
            yield gpu


async def main() -> None:
    """Measure all three in turn, and print."""
    configure_logging(level="ERROR")
    with servers() as (url, proxy), tempfile.TemporaryDirectory(prefix="p6-") as folder:
        async with httpx.AsyncClient(timeout=30.0) as http, ours(Path(folder), url, http) as gpu:

            async def bare(name: str) -> None:
                for other in {"a", "b"} - {name}:
                    drop = {"model": other, "keep_alive": 0}
                    await http.post(f"{url}/api/generate", json=drop)
                await http.post(f"{url}/api/generate", json={"model": name})

            async def proxied(name: str) -> None:
                await http.post(f"{proxy}/api/generate", json={"model": name})

            async def asked(name: str) -> None:
                await http.post(f"{url}/api/generate", json={"model": name})

            async def leased(name: str) -> None:
                need = GpuNeed(service="ollama", model=name, klass=PriorityClass.CHAT)
                async with gpu.leases.hold(need):
                    await asked(name)

            rows = []
            direct = await measure(asked, swap=False, count=WARM)
            base = quantile(direct, 0.5)
            for title, work in (
                ("bare unload and load", bare),
                ("small swapping proxy", proxied),
                ("leases", leased),
            ):
                await bare("a")
                warm = await measure(work, swap=False, count=WARM)
                swaps = await measure(work, swap=True, count=SWAPS)
                rows.append(
                    [title]
                    + [_ms(quantile(warm, q) - base) for q in (0.5, 0.95)]
                    + [_ms(quantile(swaps, q) - LOAD_SECONDS - base) for q in (0.5, 0.95)]
                )
    columns = ["milliseconds beyond load and request", "warm p50", "p95", "swap p50", "p95"]
    print(show(columns, rows))
    print(f"\n{WARM} warm requests, {SWAPS} swaps each; a bare request takes {_ms(base)} ms.")


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f}"


if __name__ == "__main__":
    asyncio.run(main())
