"""A worker process over the sample tools, to be killed: `python -m tests.nebula.jobs.process`."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nebula.app import open_app
from nebula.jobs.worker import open_worker
from nebula.packages import checkout
from nebula.settings import Settings
from nebula.tool.registry import Registry
from tests.nebula.jobs import samples
from tests.nebula.jobs.pace import QUICK


@contextmanager
def worker_process(settings: Settings, log: Path) -> Iterator["subprocess.Popen[str]"]:
    """Give a worker process that takes jobs, and kill it in the end; its tools write to `log`."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(checkout()),
        "JARVIS_HOME": str(settings.home),
        "DATABASE_URL": settings.database_url,
        "OLLAMA_HOST": "http://127.0.0.1:1",
        "SAMPLE_LOG": str(log),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "tests.nebula.jobs.process"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=settings.home,
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("ready"):
                    break
            yield process
        finally:
            process.kill()


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = Settings(_env_file=None, warm_start=False)
    async with (
        open_app(settings, registry=Registry(samples.ALL)) as app,
        open_worker(app, 4, grace_seconds=0.5, pace=QUICK),
    ):
        print("ready", flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
