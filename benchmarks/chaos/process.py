"""A process of the chaos run: `python -m benchmarks.chaos.process server|worker`.

The same as `jarvis up` without a browser and `jarvis worker`, with the run's own tools beside the
product's; where everything is comes from the environment.
"""

import asyncio
import sys
from contextlib import AsyncExitStack
from typing import Final

from benchmarks.chaos.tools import registry
from nebula.errors import NebulaError
from nebula.log import configure_logging
from nebula.settings import Settings

NOT_STARTED: Final = 3
"""How a program ends that could not start, such as while the database is away; uvicorn's number."""


async def worker(settings: Settings) -> None:
    """Run jobs, and stand for scheduler."""
    from nebula.app import open_app
    from nebula.jobs.worker import open_worker

    async with AsyncExitStack() as stack:
        try:
            app = await stack.enter_async_context(open_app(settings, registry=registry()))
            await stack.enter_async_context(open_worker(app, 6))
        except NebulaError as error:
            print(f"not started: {error}", flush=True)
            sys.exit(NOT_STARTED)
        app.parts.leases.schedule()
        print("ready", flush=True)
        await asyncio.Event().wait()


def server(settings: Settings) -> None:
    """Serve the doors, run jobs, and stand for scheduler."""
    import uvicorn

    from api.server import create_server

    made = create_server(settings, registry=registry())
    uvicorn.run(made, host=settings.host, port=settings.port, log_config=None, ws="none")


if __name__ == "__main__":
    configure_logging("console", "WARNING")
    read = Settings(_env_file=None, warm_start=False)
    if sys.argv[1] == "server":
        server(read)
    else:
        asyncio.run(worker(read))
