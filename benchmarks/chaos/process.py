"""A process of the chaos run: `python -m benchmarks.chaos.process server|worker`.

The same as `jarvis up` without a browser and `jarvis worker`, with the run's own tools beside the
product's; where everything is comes from the environment.
"""

import asyncio
import sys

from benchmarks.chaos.tools import registry
from nebula.log import configure_logging
from nebula.settings import Settings


async def worker(settings: Settings) -> None:
    """Run jobs, and stand for scheduler."""
    from nebula.app import open_app
    from nebula.jobs.worker import open_worker

    async with open_app(settings, registry=registry()) as app, open_worker(app, 6):
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
