"""`jarvis jobs`, and following a job that a command started."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from nebula.errors import Conflict, NebulaError, OutcomeUnknown, UpstreamUnavailable
from nebula.markup.text import visible
from ui.cli.approve import interactive
from ui.cli.keyboard import Keyboard
from ui.cli.operator import Seat, seated
from ui.cli.records import write_json
from ui.cli.show import console, show_blocks

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from nebula.events.bus import Event
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
    async with _somebody_works(seat, quiet=as_json):
        job = await _until_the_end(seat, job_id, quiet=as_json)
        if job is not None:
            _show_end(seat, job, as_json=as_json)


@asynccontextmanager
async def _somebody_works(seat: Seat, *, quiet: bool) -> AsyncIterator[None]:
    """Run jobs in this process while nobody else does, or the wait would be long."""
    if await seat.app.parts.jobs.has_worker():
        yield
        return
    from nebula.jobs.worker import open_worker

    if not quiet:
        console(error=True).print("No worker is running, so the job runs here.", style="dim")
    async with open_worker(seat.app, 1):
        seat.app.parts.leases.schedule()
        yield


async def _until_the_end(seat: Seat, job_id: str, *, quiet: bool) -> "Job | None":
    """Return the job when it has ended; None when the person left it to itself."""
    following = asyncio.create_task(_followed(seat, job_id, quiet=quiet))
    keyboard = Keyboard()
    with keyboard.listening():
        while not following.done():
            pressed = asyncio.Event()
            with keyboard.stopping(pressed.set):
                waiting = asyncio.create_task(pressed.wait())
                await asyncio.wait({following, waiting}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
            if pressed.is_set() and not following.done() and await _leaves(seat, job_id, keyboard):
                following.cancel()
                with suppress(asyncio.CancelledError):
                    await following
                return None
    return await following


async def _leaves(seat: Seat, job_id: str, keyboard: Keyboard) -> bool:
    """Ask what Ctrl-C means; True leaves the job to itself."""
    err = console(error=True)
    answer = "d"
    if interactive():
        said = await keyboard.line("\n[c]ancel the job, [d]etach, or Enter to go on: ")
        answer = "d" if said is None else said.strip().lower()[:1]
    if answer == "c":
        with suppress(NebulaError):  # it may have ended meanwhile
            await seat.app.parts.jobs.cancel(job_id, seat.caller.principal)
        return False
    if answer != "d":
        return False
    err.print(f"The job runs on. Follow it: jarvis jobs follow {job_id}")
    return True


async def _followed(seat: Seat, job_id: str, *, quiet: bool) -> "Job":
    from nebula.jobs.job import JobState
    from nebula.jobs.record import stream_of

    parts, who = seat.app.parts, seat.caller.principal
    after = await parts.events.last(stream_of(job_id))
    job = await parts.jobs.get(job_id, who)
    with _Screen(job, quiet=quiet) as screen:
        if job.state.ended:
            return job
        async for event in parts.events.follow(stream_of(job_id), after):
            screen.show(event)
            state = event.data.get("state") if event.kind == "job.state" else None
            if state is not None and JobState(state).ended:
                job = await parts.jobs.get(job_id, who)
                if job.state.ended:  # a lost run is told of too, though the job goes on
                    return job
    raise UpstreamUnavailable("The events ended before the job did")


class _Screen:
    """A progress bar on a terminal, lines where there is none."""

    def __init__(self, job: "Job", *, quiet: bool) -> None:
        self._job = job
        self._bar = None if quiet else _bar()
        self._live = bool(
            self._bar and sys.stderr.isatty() and not self._bar.console.is_dumb_terminal
        )
        if self._bar is not None and self._live:
            self._bar.add_task(self._said(job.state.value), total=1.0)
        self._last = ""

    def __enter__(self) -> "_Screen":
        if self._bar is not None and self._live:
            self._bar.start()
        self._note(self._job.waits_because or self._job.state.value)
        if self._job.progress.message:
            self._progress(self._job.progress.model_dump())
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None and self._live:
            self._bar.stop()

    def show(self, event: "Event") -> None:
        if self._bar is None:
            return
        match event.kind:
            case "job.progress":
                self._progress(event.data)
            case "job.log":
                self._bar.console.print(f"  {event.data['text']}", style="dim")
            case "job.state":
                self._note(str(event.data.get("waits_because") or event.data["state"]))

    def _progress(self, told: dict[str, Any]) -> None:
        steps = f"{told['step']}/{told['steps']} " if told.get("steps") else ""
        left = told.get("eta_seconds")
        eta = "" if left is None else f" · about {left:.0f} s left"
        self._note(f"{steps}{told['message']}{eta}", told.get("fraction"))

    def _note(self, text: str, fraction: float | None = None) -> None:
        if self._bar is None:
            return
        said = self._said(text)
        if self._live:
            self._bar.update(self._bar.task_ids[0], description=said, completed=fraction)
        elif said != self._last:
            share = "" if fraction is None else f"{fraction:4.0%} "
            self._bar.console.print(f"{share}{said}", style="dim")
        self._last = said

    def _said(self, text: str) -> str:
        return visible(f"{self._job.tool}: {text}")


def _bar() -> "Bar":
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    text = TextColumn("{task.description}", markup=False)
    return Progress(
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        text,
        console=console(error=True),
        auto_refresh=True,
        transient=True,
    )


def _show_end(seat: Seat, job: "Job", *, as_json: bool) -> None:
    if job.error is not None:
        raise _error_of(job.error)
    if job.result is None:
        raise Conflict(f"The job is {job.state.value.replace('_', ' ')}.")
    if as_json:
        write_json(job)
        return
    result = seat.app.parts.registry.get(job.tool).output_model.model_validate(job.result)
    show_blocks(result.render(), console())


def _error_of(shape: dict[str, Any]) -> NebulaError:
    """Turn the one error shape back into an error with the right exit code."""
    from nebula.errors import ApprovalRequired, InternalError, by_code

    kind = by_code(str(shape.get("code", "")))
    if kind in (ApprovalRequired, InternalError):
        kind = OutcomeUnknown if kind is ApprovalRequired else NebulaError
    return kind(str(shape.get("detail", "")), hint=str(shape.get("hint", "")))


async def _call(seat: Seat, name: str, arguments: dict[str, Any]) -> Any:
    from ui.cli.run_tool import run_asking

    return await run_asking(seat, name, arguments)
