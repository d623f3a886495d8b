"""`jarvis worker`: runs jobs in a process of its own until it is stopped."""

import asyncio
import signal
import sys

from ui.cli.operator import read_settings

_USUAL = 4


def worker(jobs: int | None) -> None:
    """Run so many jobs at once; SIGTERM and Ctrl-C let running ones finish for a moment."""
    from nebula.log import configure_logging

    settings = read_settings()
    configure_logging(settings.log_format, settings.log_level)
    asyncio.run(_work(jobs or settings.workers or _USUAL))
    sys.stderr.write("Stopped.\n")


async def _work(at_once: int) -> None:
    from nebula.app import open_app
    from nebula.jobs.schedules.launch import ticking
    from nebula.jobs.worker import open_worker
    from nebula.tool.audit.anchoring import anchoring
    from tools.workflows.engine import working

    settings, stop = read_settings(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with (
        open_app(settings) as app,
        anchoring(app.parts.db, app.parts.audit, settings),
        open_worker(app, at_once) as running,
        ticking(app.parts),
        working(app),
    ):
        app.parts.leases.schedule()
        sys.stdout.write(f"Worker {running.id} takes jobs, {at_once} at once.\n")
        sys.stdout.flush()
        await stop.wait()
