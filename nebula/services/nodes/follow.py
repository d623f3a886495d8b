"""Runs a task on a machine from its start to its end, with its log in the job's log."""

import asyncio
import contextlib
import hashlib
from dataclasses import dataclass, field

from nebula.errors import (
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
        OutcomeUnknown: when the machine fell silent, or its task was lost, in the middle.
        UpstreamRejected: when the task's lease was over before it ended.
    """
    done = Followed(TaskReport(request.task_id, request.command, TaskState.STARTING))
    try:
        with contextlib.suppress(OutcomeUnknown):
            done.report = await client.start(request)
        await _to_the_end(ctx, client, request.task_id, done)
    except asyncio.CancelledError:
        with contextlib.suppress(NebulaError):
            async with asyncio.timeout(_KILL_SECONDS):
                await asyncio.shield(client.kill(request.task_id))
        raise
    if done.report.state is TaskState.FENCED:
        raise UpstreamRejected(
            f"{client.name} stopped it: {done.report.reason}", hint="Try again; nothing runs on."
        )
    if done.report.state in {TaskState.LOST, TaskState.KILLED}:
        raise OutcomeUnknown(f"It was broken off on {client.name}: {done.report.reason}")
    return done


async def _to_the_end(ctx: Context, client: NodeClient, task: str, done: Followed) -> None:
    after, silent = 0, 0.0
    loop = asyncio.get_running_loop()
    while True:
        try:
            view = await client.task(task, after=after, wait=_WAIT_SECONDS)
            silent = 0.0
        except NotFound as error:
            # It was asked for, but the machine never wrote it down.
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
