"""Draws a job in the terminal while it runs, and what it made."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nebula.errors import Conflict, NebulaError, OutcomeUnknown, UpstreamUnavailable
from nebula.markup.text import visible
from ui.cli.bar import moves, progress_bar
from ui.cli.records import write_json
from ui.cli.show import console, show_blocks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nebula.auth.principal import Principal
    from nebula.events.bus import Event, Events
    from nebula.jobs.job import Job
    from nebula.jobs.service import Jobs
    from nebula.tool.registry import Registry


@dataclass(frozen=True)
class JobDesk:
    """Where jobs are read, and who reads them."""

    jobs: "Jobs"
    events: "Events"
    registry: "Registry"
    who: "Principal"
    cancel: "Callable[[str], Awaitable[object]]"


async def followed(desk: JobDesk, job_id: str, *, quiet: bool = False) -> "Job":
    """Draw what a job does until it has ended, and return it."""
    from nebula.jobs.job import JobState
    from nebula.jobs.record import stream_of

    stream = stream_of(job_id)
    after = await desk.events.last(stream)
    job = await desk.jobs.get(job_id, desk.who)
    with _Screen(job, quiet=quiet) as screen:
        if job.state.ended:
            return job
        async for event in desk.events.follow(stream, after):
            screen.show(event)
            state = event.data.get("state") if event.kind == "job.state" else None
            if state is not None and JobState(state).ended:
                job = await desk.jobs.get(job_id, desk.who)
                if job.state.ended:  # a lost run is told of too, though the job goes on
                    return job
    raise UpstreamUnavailable("The events ended before the job did")


class _Screen:
    """A progress bar on a terminal, lines where there is none."""

    def __init__(self, job: "Job", *, quiet: bool) -> None:
        self._job = job
        self._bar = None if quiet else progress_bar()
        self._live = self._bar is not None and moves(self._bar.console)
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


def show_end(desk: JobDesk, job: "Job", *, as_json: bool = False) -> None:
    """Show what a job made.

    Raises:
        NebulaError: when it ended without a result, as its error says.
    """
    if job.error is not None:
        raise _error_of(job.error)
    if job.result is None:
        raise Conflict(f"The job is {job.state.value.replace('_', ' ')}.")
    if as_json:
        write_json(job)
        return
    result = desk.registry.get(job.tool).output_model.model_validate(job.result)
    show_blocks(result.render(), console())


def _error_of(shape: dict[str, Any]) -> NebulaError:
    """Turn the one error shape back into an error with the right exit code."""
    from nebula.errors import ApprovalRequired, InternalError, by_code

    kind = by_code(str(shape.get("code", "")))
    if kind in (ApprovalRequired, InternalError):
        kind = OutcomeUnknown if kind is ApprovalRequired else NebulaError
    return kind(str(shape.get("detail", "")), hint=str(shape.get("hint", "")))
