"""The tasks of this machine: each started once, under its lease, and ended with it."""

import asyncio
import contextlib
import json
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from pathlib import Path

from node import process, ring
from node.clock import now
from node.documents import read
from node.errors import AgentError, BadRequest, OutOfTouch, Refused, Unknown
from node.journal import Journal
from node.launch import Ending, Launched, end_for_good, launch, read_ending
from node.leases import Leases
from node.protocol import TASK_ID_PATTERN, TaskReport, TaskRequest, TaskState, TaskView
from node.work import Work

_KEPT = 200
_LEEWAY_SECONDS = 0.5
_STATES = {
    "killed": TaskState.KILLED,
    "fenced": TaskState.FENCED,
    "unstartable": TaskState.FAILED,
    "orphaned": TaskState.LOST,
    "lost": TaskState.LOST,
}
_REASONS = {
    "killed": "stopped on request",
    "fenced": "its lease was over",
    "orphaned": "the agent ended while it ran",
}

Confirm = Callable[[], Awaitable[None]]
"""Asks the control plane for the leases that hold; raises OutOfTouch when it does not answer."""


class _Task:
    """One task in memory: its request, how it is, and the line to its warden."""

    def __init__(self, request: TaskRequest, report: TaskReport, folder: Path) -> None:
        self.request = request
        self.report = report
        self.folder = folder
        self.launched: Launched | None = None
        self.watcher: asyncio.Task[None] | None = None
        self.done = asyncio.Event()
        self.until: float | None = None


class Tasks:
    """Starts, watches and ends tasks. Everything that counts is journalled before it happens."""

    def __init__(
        self, folder: Path, work: Work, journal: Journal, leases: Leases, confirm: Confirm
    ) -> None:
        """Take the folder for logs, what finds a command, the journal, and the leases."""
        self._folder = folder
        self._work = work
        self._journal = journal
        self._leases = leases
        self._confirm = confirm
        self._tasks: dict[str, _Task] = {}
        self._never: dict[str, None] = {}
        self._starting = asyncio.Lock()

    async def start(self, request: TaskRequest) -> TaskReport:
        """Start a task once; the same request again tells how it is.

        Raises:
            Refused: when its lease does not hold, or its id stands for something else.
            OutOfTouch: when nobody could say whether its lease holds.
            Unknown, NotAllowed: when this machine's owner does not allow the command.
        """
        if not _fits(request.task_id):
            raise BadRequest("A task's id has letters, digits, points, hyphens, underscores")
        async with self._starting:
            if request.task_id in self._never:
                raise Refused(f"The task {request.task_id} was stopped before it started")
            known = self._known(request.task_id)
            if known is not None:
                if known.request != _keyed(request):
                    raise Refused(f"The task {request.task_id} is another one already")
                return known.report
            return await self._begin(request)

    async def _begin(self, request: TaskRequest) -> TaskReport:
        argv, env, cwd = self._work.argv(request)
        try:
            until = await self._until(request)
        except AgentError as error:
            self._journal.write(
                "refused", task=request.task_id, gpu=request.gpu, token=request.token,
                highest=None if request.gpu is None else self._leases.highest(request.gpu),
                why=str(error),
            )  # fmt: skip
            raise
        report = TaskReport(
            request.task_id, request.command, TaskState.STARTING, request.gpu, request.token
        )
        task = _Task(_keyed(request), report, self._folder / request.task_id)
        task.until = until
        task.folder.mkdir(parents=True, exist_ok=True)
        _write(task.folder / "request.json", asdict(task.request))
        self._journal.write(
            "accepted", task=request.task_id, command=request.command, gpu=request.gpu,
            token=request.token, vram=request.vram, job=request.job,
        )  # fmt: skip
        self._tasks[request.task_id] = task
        task.launched = await launch(argv, task.folder, env=env, cwd=cwd, until=until)
        self._journal.write(
            "started", task=request.task_id, pid=task.launched.pid, started=task.launched.started
        )
        task.report = replace(report, state=TaskState.RUNNING, started_at=round(time.time(), 3))
        task.watcher = asyncio.create_task(self._watch(task))
        return task.report

    async def _until(self, request: TaskRequest) -> float | None:
        """Return until when a task may run; for work on a card, the control plane is asked."""
        if request.gpu is None or request.token is None:
            if self._work.needs_gpu(request.command):
                raise Refused(f"{request.command} runs under a lease of a card only")
            return None if request.lease_seconds is None else now() + request.lease_seconds
        if self._leases.stale(request.gpu, request.token):
            raise Refused(
                f"The token {request.token} of card {request.gpu} belongs to the past",
                hint="A newer lease was given out; ask for a new one.",
            )
        # Asked anew each time: a request that was long on its way may come after its lease's end.
        await self._confirm()
        until = self._leases.until(request.gpu, request.token)
        if until is None:
            raise Refused(f"No lease with the token {request.token} holds on card {request.gpu}")
        self._leases.saw(request.gpu, request.token)
        return until

    async def _watch(self, task: _Task) -> None:
        assert task.launched is not None
        ending = await task.launched.ended()
        if ending.why == "lost" and task.launched.pid is not None:
            await end_for_good(task.launched.pid, task.launched.started)
        self._end(task, ending)

    def _end(self, task: _Task, ending: Ending) -> None:
        state = _STATES.get(ending.why)
        if state is None:
            state = TaskState.SUCCEEDED if ending.code == 0 else TaskState.FAILED
        reason = ending.detail or _REASONS.get(ending.why, "")
        if not reason and ending.code:
            reason = f"it ended with the code {ending.code}"
        task.report = replace(
            task.report,
            state=state,
            exit_code=ending.code,
            reason=reason,
            ended_at=round(ending.at or time.time(), 3),
        )
        _write(task.folder / "report.json", asdict(task.report))
        self._journal.write(
            "ended", task=task.request.task_id, state=state.value, code=ending.code,
            why=ending.why, ended=task.report.ended_at,
        )  # fmt: skip
        task.done.set()
        self._tidy()

    def renew(self) -> None:
        """Carry the leases' new moments to the wardens; end what has none any more."""
        for task in self._running():
            request = task.request
            if request.gpu is not None and request.token is not None:
                until = self._leases.until(request.gpu, request.token)
                # Not listed is over: what waits for the card may be given it now.
                task.until = now() if until is None else until
            elif request.lease_seconds is not None and self._leases.heard_at is not None:
                task.until = self._leases.heard_at + request.lease_seconds
            if task.launched is not None:
                task.launched.allow_until(task.until)

    async def fence(self) -> None:
        """End what outlived its lease although its warden should have seen to it."""
        for task in self._running():
            late = task.until is not None and now() > task.until + _LEEWAY_SECONDS
            if late and task.launched is not None and task.launched.pid is not None:
                self._journal.write("fenced", task=task.request.task_id, until=task.until)
                process.end(task.launched.pid, hard=True)

    async def view(self, task_id: str, *, after: int, wait: float) -> TaskView:
        """Return a task and its log from a place on, waiting a while for something new."""
        task = self._found(task_id)
        give_up = now() + wait
        while True:
            ended = task.report.state.ended
            lines, place, skipped = await asyncio.to_thread(
                ring.read, task.folder, after, whole=ended
            )
            if lines or ended or now() >= give_up:
                return TaskView(task.report, tuple(lines), place, skipped)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(task.done.wait(), min(0.1, max(0.01, give_up - now())))

    async def kill(self, task_id: str, *, seconds: float = 20.0) -> TaskReport:
        """End a task and all it started; a report that says so means that nothing runs.

        A task that is not here will not start any more: a request for it may still be on its way.
        """
        if not _fits(task_id):
            raise BadRequest("A task's id has letters, digits, points, hyphens, underscores")
        async with self._starting:
            task = self._known(task_id)
            if task is None:
                self._never[task_id] = None
                for oldest in list(self._never)[:-_KEPT]:
                    del self._never[oldest]
                return TaskReport(task_id, "", TaskState.KILLED, reason="it was never started")
        if not task.report.state.ended and task.launched is not None:
            self._journal.write("kill", task=task_id)
            task.launched.tell("kill")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(task.done.wait(), seconds)
        return task.report

    def reports(self, recent: float = 60.0) -> tuple[TaskReport, ...]:
        """Return what runs, and what ended in the last seconds."""
        since = time.time() - recent
        return tuple(
            t.report for t in self._tasks.values()
            if not t.report.state.ended or (t.report.ended_at or 0) >= since
        )  # fmt: skip

    def pids(self) -> dict[int, str]:
        """Return the process of every running task."""
        return {
            t.launched.pid: t.request.task_id
            for t in self._running()
            if t.launched is not None and t.launched.pid is not None
        }

    async def recover(self) -> None:
        """End what an earlier agent left behind, and remember its tokens."""
        open_tasks: dict[str, dict[str, object]] = {}
        for line in self._journal.read():
            task_id = str(line.get("task"))
            match line.get("event"):
                case "accepted":
                    open_tasks[task_id] = line
                    if isinstance(line.get("gpu"), int) and isinstance(line.get("token"), int):
                        self._leases.saw(line["gpu"], line["token"])
                case "started" if task_id in open_tasks:
                    open_tasks[task_id] = {**open_tasks[task_id], **line}
                case "ended":
                    open_tasks.pop(task_id, None)
        await asyncio.gather(*(self._bury(i, line) for i, line in open_tasks.items()))

    async def _bury(self, task_id: str, line: dict[str, object]) -> None:
        task = self._known(task_id)
        if task is None:
            self._journal.write("ended", task=task_id, state="lost", code=None, why="lost")
            return
        pid, started = line.get("pid"), line.get("started")
        # Its warden saw the agent go and is at work; what it does not finish, we do. There may be
        # one although no start was written down: the agent may have gone in between.
        ending = await _written(task.folder)
        if isinstance(pid, int):
            await end_for_good(pid, None if started is None else str(started))
        self._end(task, ending or Ending(None, "orphaned", "", time.time()))

    async def close(self) -> None:
        """End every task; the agent goes."""
        running = [t for t in self._running() if t.launched is not None]
        for task in running:
            assert task.launched is not None
            task.launched.tell("kill")
        await asyncio.gather(*(t.watcher for t in running if t.watcher is not None))

    def _running(self) -> list[_Task]:
        return [t for t in self._tasks.values() if not t.report.state.ended]

    def _found(self, task_id: str) -> _Task:
        task = self._known(task_id) if _fits(task_id) else None
        if task is None:
            raise Unknown(f"There is no task {task_id[:60]!r} on this machine")
        return task

    def _known(self, task_id: str) -> _Task | None:
        """Return a task of this run of the agent, or of an earlier one, from its folder."""
        if task_id in self._tasks:
            return self._tasks[task_id]
        folder = self._folder / task_id
        try:
            request = read(TaskRequest, json.loads((folder / "request.json").read_text()))
        except (OSError, ValueError, AgentError):
            return None
        lost = TaskReport(task_id, request.command, TaskState.LOST, request.gpu, request.token)
        try:
            report = read(TaskReport, json.loads((folder / "report.json").read_text()))
        except (OSError, ValueError, AgentError):
            report = lost
        task = self._tasks[task_id] = _Task(request, report, folder)
        task.done.set()
        return task

    def _tidy(self) -> None:
        """Forget the oldest tasks that ended, and their logs."""
        ended = [t for t in self._tasks.values() if t.report.state.ended]
        ended.sort(key=lambda t: t.report.ended_at or 0)
        for task in ended[:-_KEPT]:
            del self._tasks[task.request.task_id]
            shutil.rmtree(task.folder, ignore_errors=True)


def require_touch(leases: Leases, seconds: float) -> None:
    """Raise OutOfTouch when the control plane has not answered for so long."""
    if leases.heard_at is None or now() - leases.heard_at > seconds:
        raise OutOfTouch("The control plane does not answer", hint="Is Jarvis running?")


def _keyed(request: TaskRequest) -> TaskRequest:
    """Return what makes two requests the same one: how long a lease lasts does not."""
    return request if request.gpu is None else replace(request, lease_seconds=None)


def _fits(task_id: str) -> bool:
    import re

    return re.fullmatch(TASK_ID_PATTERN, task_id) is not None


def _write(file: Path, document: object) -> None:
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(document))
    draft.replace(file)


async def _written(folder: Path, seconds: float = 5.0) -> Ending | None:
    """Wait a while for a warden's last word."""
    give_up = now() + seconds
    # Another process writes it: there is nothing to be told by.
    while (ending := read_ending(folder)) is None and now() < give_up:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    return ending
