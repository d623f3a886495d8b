"""An engine in a process of its own, to be killed: `python -m tests.tools.workflows.process`."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nebula.app import open_app
from nebula.packages import checkout
from nebula.settings import Settings
from nebula.tool.registry import Registry
from tests.tools.workflows import samples
from tests.tools.workflows.conftest import FOUND
from tools.workflows.engine import working


@contextmanager
def engine_process(settings: Settings, log: Path) -> Iterator["subprocess.Popen[str]"]:
    """Give a process that works on runs, and kill it in the end; its tools write to `log`."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(checkout()),
        "JARVIS_HOME": str(settings.home),
        "DATABASE_URL": settings.database_url,
        "OLLAMA_HOST": "http://127.0.0.1:1",
        "SAMPLE_LOG": str(log),
    }
    command = [sys.executable, "-m", "tests.tools.workflows.process"]
    with subprocess.Popen(command, text=True, env=environment, cwd=settings.home) as process:
        try:
            yield process
        finally:
            process.kill()


async def main() -> None:
    settings = Settings(_env_file=None, warm_start=False)
    async with (
        open_app(settings, registry=Registry([*samples.ALL, *FOUND])) as app,
        working(app, poll_seconds=0.1),
    ):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
