"""Runs a task on a machine from its start to its end, with its log in the job's log."""

import asyncio
import contextlib
import hashlib
from dataclasses import dataclass, field

from nebula.errors import (
    Conflict,
    NebulaError,
    NotFound,
    OutcomeUnknown,
    TimedOut,
    UpstreamRejected,
    UpstreamUnavailable,
)
from nebula.services.nodes.client import NodeClient
from nebula.tool.context import Context
from node.protocol import TaskReport, TaskRequest, TaskState, TaskView

_WAIT_SECONDS = 5.0
_AWAY_SECONDS = 60.0
_KILL_SECONDS = 25.0
_SHOWN_LINES = 40


@dataclass
class Followed:
    """How a task ended, with the last lines of its log."""

    report: TaskReport
    lines: list[str] = field(default_factory=list)


def task_id(call_id: str, what: str = "") -> str:
    """Return the id of the task that a call starts: the same call never starts it twice."""
    return "call-" + hashlib.sha256(f"{call_id}/{what}".encode()).hexdigest()[:32]


async def follow(ctx: Context, client: NodeClient, request: TaskRequest) -> Followed:
    """Start a task and follow it to its end; when we are cancelled, so is it.

    Raises:
        OutcomeUnknown: when the machine fell silent, or its task was stopped, in the middle.
        UpstreamUnavailable: when it was surely not started.
        UpstreamRejected: when the machine cannot start it.
    """
    done = Followed(TaskReport(request.task_id, request.command, TaskState.STARTING))
    try:
        await _begin(client, request, done)
        await _to_the_end(ctx, client, request.task_id, done)
    except (asyncio.CancelledError, OutcomeUnknown) as error:
        # What nobody follows may go on, but not on a card.
        unwanted = ctx.lease is not None or isinstance(error, asyncio.CancelledError)
        if unwanted and not await _killed(client, request.task_id) and ctx.lease is not None:
            ctx.lease.may_run_on.set()
        raise
    if done.report.state in {TaskState.FENCED, TaskState.LOST, TaskState.KILLED}:
        raise OutcomeUnknown(f"It was broken off on {client.name}: {done.report.reason}")
    if done.report.state is TaskState.FAILED and done.report.exit_code is None:
        why = done.report.reason or "no reason was given"
        if request.token is None:
            raise UpstreamRejected(f"{client.name} could not start it: {why}")
        raise UpstreamUnavailable(f"{client.name} could not start it: {why}")
    return done


async def _begin(client: NodeClient, request: TaskRequest, done: Followed) -> None:
    """Start the task; under a lease, wait a while for a machine that is out of touch."""
    loop = asyncio.get_running_loop()
    patience = loop.time() + (0.0 if request.token is None else _AWAY_SECONDS)
    perhaps = False
    while True:
        try:
            done.report = await client.start(request)
            return
        except Conflict as error:
            if request.token is None:
                raise
            raise UpstreamUnavailable(
                f"It lost its place on {client.name} before it started"
            ) from error
        except (OutcomeUnknown, UpstreamUnavailable, TimedOut) as error:
            perhaps = perhaps or isinstance(error, OutcomeUnknown)
            if loop.time() >= patience:
                if perhaps:
                    return  # the machine tells, when it is asked for the task
                raise
        await asyncio.sleep(1.0)


async def _killed(client: NodeClient, task: str) -> bool:
    """Stop a task; say whether it is known that nothing of it runs any more."""
    with contextlib.suppress(NebulaError, TimeoutError):
        async with asyncio.timeout(_KILL_SECONDS):
            return (await asyncio.shield(client.kill(task))).state.ended
    return False


async def _to_the_end(ctx: Context, client: NodeClient, task: str, done: Followed) -> None:
    after, silent = 0, 0.0
    loop = asyncio.get_running_loop()
    while True:
        try:
            view = await client.task(task, after=after, wait=_WAIT_SECONDS)
            silent = 0.0
        except NotFound as error:
            # It was asked for, but never written down. Stopped now, it cannot start any more.
            if not await _killed(client, task):
                raise OutcomeUnknown(f"{client.name} fell silent before it started") from error
            raise UpstreamUnavailable(f"{client.name} fell silent before it started") from error
        except (UpstreamUnavailable, TimedOut) as error:
            silent = silent or loop.time()
            if loop.time() - silent > _AWAY_SECONDS:
                raise OutcomeUnknown(
                    f"{client.name} fell silent while it ran", hint="nodes_get shows its tasks."
                ) from error
            await asyncio.sleep(1.0)
            continue
        after = await _take(ctx, view, done)
        if done.report.state.ended and not view.lines:
            return


async def _take(ctx: Context, view: TaskView, done: Followed) -> int:
    done.report = view.task
    if view.lines:
        done.lines = [*done.lines, *view.lines][-_SHOWN_LINES:]
        await ctx.job_log("\n".join(view.lines))
        await ctx.progress(None, view.lines[-1][:200])
    return view.next
