"""A worker process of P4 and R3: `python -m benchmarks.job_worker ours|procrastinate`."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from benchmarks.job_tools import act, registry

AT_ONCE = 8


async def ours() -> None:
    """Run the product's worker."""
    from nebula.app import open_app
    from nebula.jobs.worker import open_worker
    from nebula.log import configure_logging
    from nebula.settings import Settings

    configure_logging("console", "CRITICAL")
    settings = Settings(_env_file=None, warm_start=False)
    async with open_app(settings, registry=registry()) as app:
        _plant(app.executor, os.environ.get("BENCH_FAULT", ""))
        async with open_worker(app, AT_ONCE):
            print("ready", flush=True)
            await asyncio.Event().wait()


def _plant(executor: Any, fault: str) -> None:
    """Kill the process between claim and tool, or between tool and record."""
    run_job = executor.run_job

    async def killed(run: Any) -> Any:
        first = run.job.attempts == 1
        if first and fault == "after the claim":
            os.kill(os.getpid(), signal.SIGKILL)
        result = await run_job(run)
        if first and fault == "before the record":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    executor.run_job = killed


def plain(conninfo: str) -> Any:
    """Return procrastinate as its manual shows it, with the tasks of the benchmarks."""
    from procrastinate import App, JobContext, PsycopgConnector

    app = App(connector=PsycopgConnector(conninfo=conninfo, min_size=1, max_size=4))

    @app.task(name="nap")
    async def nap(seconds: float) -> None:
        await asyncio.sleep(seconds)

    @app.task(name="act", pass_context=True)
    async def effect(context: JobContext, key: str | None) -> None:
        first = context.job.attempts == 0
        fault = os.environ.get("BENCH_FAULT", "") if first else ""
        if fault == "after the claim":
            os.kill(os.getpid(), signal.SIGKILL)
        act(Path(os.environ["BENCH_OUTSIDE"]), key, fault)
        if fault == "before the record":
            os.kill(os.getpid(), signal.SIGKILL)

    return app


async def procrastinate() -> None:
    """Run procrastinate's worker; with BENCH_RETRY, stalled jobs are retried as its manual shows."""
    app = plain(os.environ["DATABASE_URL"])

    async def retry_stalled() -> None:
        while True:
            for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=3):
                await app.job_manager.retry_job(job)
            await asyncio.sleep(1)

    async with app.open_async():
        healing = asyncio.create_task(retry_stalled()) if os.environ.get("BENCH_RETRY") else None
        print("ready", flush=True)
        await app.run_worker_async(
            concurrency=AT_ONCE,
            update_heartbeat_interval=1,
            stalled_worker_timeout=3,
            fetch_job_polling_interval=1,
            install_signal_handlers=False,
        )
        if healing is not None:
            healing.cancel()


if __name__ == "__main__":
    asyncio.run(ours() if sys.argv[1] == "ours" else procrastinate())
