"""`jarvis jobs`, and following a job that a command started."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from nebula.errors import NebulaError
from ui.cli.approve import interactive
from ui.cli.job_screen import JobDesk, followed, show_end
from ui.cli.keyboard import Keyboard
from ui.cli.operator import Seat, seated
from ui.cli.records import write_json
from ui.cli.show import console, show_blocks

if TYPE_CHECKING:
    from nebula.app import App
    from nebula.auth.principal import Principal
    from nebula.jobs.job import Job

_LINES = 1000


async def list_jobs(state: str, *, limit: int, as_json: bool) -> None:
    """Show jobs, newest first."""
    arguments: dict[str, Any] = {"limit": limit} | ({"state": state} if state else {})
    async with seated() as seat:
        found = await _call(seat, "jobs_list", arguments)
    if as_json:
        write_json(found)
    else:
        show_blocks(found.render(), console())


async def follow(job_id: str, *, as_json: bool) -> None:
    """Show a job until it ends, then its result."""
    async with seated() as seat:
        await show_to_the_end(seat, job_id, as_json=as_json)


async def cancel(job_id: str, *, as_json: bool) -> None:
    """Cancel a job."""
    async with seated() as seat:
        done = await _call(seat, "jobs_cancel", {"job_id": job_id})
    if as_json:
        write_json(done)
    else:
        show_blocks(done.render(), console())


async def retry(job_id: str, *, detach: bool, as_json: bool) -> None:
    """Run a job once more and follow the new one."""
    from ui.cli.run_tool import run_asking

    async with seated() as seat:
        handle = await run_asking(seat, "jobs_retry", {"job_id": job_id})
        await follow_handle(seat, handle, detach=detach, as_json=as_json)


async def follow_handle(seat: Seat, handle: Any, *, detach: bool, as_json: bool) -> None:
    """Follow the job of a handle, or only say which it is."""
    if not detach:
        await show_to_the_end(seat, handle.job_id, as_json=as_json)
    elif as_json:
        write_json(handle)
    else:
        console().print(f"Job {handle.job_id} is {handle.state.value}.")
        console(error=True).print(f"Follow it: jarvis jobs follow {handle.job_id}", style="dim")


async def show_to_the_end(seat: Seat, job_id: str, *, as_json: bool) -> None:
    """Draw a job's progress until it ends, then show its result.

    On Ctrl-C a person is asked whether to cancel the job or leave it running.

    Raises:
        NebulaError: when the job ended without a result, as its error says.
    """
    desk = desk_of(seat.app, seat.caller.principal)
    async with somebody_works(seat.app, quiet=as_json):
        with Keyboard().listening() as keyboard:
            job = await until_the_end(desk, job_id, keyboard, quiet=as_json)
        if job is not None:
            show_end(desk, job, as_json=as_json)


@asynccontextmanager
async def somebody_works(app: "App", *, quiet: bool = False) -> AsyncIterator[None]:
    """Run jobs in this process while nobody else does, or the wait would be long."""
    if await app.parts.jobs.has_worker():
        yield
        return
    from nebula.jobs.worker import open_worker

    if not quiet:
        console(error=True).print("No worker is running, so the job runs here.", style="dim")
    async with open_worker(app, 1):
        app.parts.leases.schedule()
        yield


def desk_of(app: "App", who: "Principal") -> JobDesk:
    """Return where the jobs of an open App are read."""
    parts = app.parts
    return JobDesk(
        parts.jobs, parts.events, parts.registry, who, lambda job: parts.jobs.cancel(job, who)
    )


async def until_the_end(
    desk: JobDesk, job_id: str, keyboard: Keyboard, *, quiet: bool = False
) -> "Job | None":
    """Return the job when it has ended; None when the person left it to itself."""
    following = asyncio.create_task(followed(desk, job_id, quiet=quiet))
    while not following.done():
        pressed = asyncio.Event()
        with keyboard.stopping(pressed.set):
            waiting = asyncio.create_task(pressed.wait())
            await asyncio.wait({following, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
        if pressed.is_set() and not following.done() and await _leaves(desk, job_id, keyboard):
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
            return None
    return await following


async def _leaves(desk: JobDesk, job_id: str, keyboard: Keyboard) -> bool:
    """Ask what Ctrl-C means; True leaves the job to itself."""
    err = console(error=True)
    answer = "d"
    if interactive():
        said = await keyboard.line("\n[c]ancel the job, [d]etach, or Enter to go on: ")
        answer = "d" if said is None else said.strip().lower()[:1]
    if answer == "c":
        with suppress(NebulaError):  # it may have ended meanwhile
            await desk.cancel(job_id)
        return False
    if answer != "d":
        return False
    err.print(f"The job runs on. Follow it: jarvis jobs follow {job_id}")
    return True


async def _call(seat: Seat, name: str, arguments: dict[str, Any]) -> Any:
    from ui.cli.run_tool import run_asking

    return await run_asking(seat, name, arguments)
