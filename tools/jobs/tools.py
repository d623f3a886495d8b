"""See and steer jobs: one's own, or everybody's with the permission `jobs:admin`."""

from typing import Annotated, Any

from pydantic import Field, ValidationError

from nebula.errors import Conflict
from nebula.jobs.job import Job, JobHandle, JobState
from nebula.policy.labels import tainted
from nebula.policy.selectors import Kind
from nebula.secrets.references import unpinned
from nebula.secrets.spots import PassesSecret
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from nebula.tool.render import escape
from nebula.tool.result import Block, Markdown
from tools.jobs.schemas import JobChange, JobList, JobReport, entry_of

JobId = Annotated[
    str, Field(description="The job's id, job_…", pattern=r"^job_[0-9a-z]+$", max_length=40)
]
Priority = Annotated[
    int, Field(description="Higher goes first; 0 is the usual one", ge=-1000, le=1000)
]


@tool(
    effect=Effect.READ,
    outside=True,
    rest="GET /jobs",
    says=[
        "(list|show) [me] [(all|the|my)] jobs",
        "(list|show) [me] [(all|the|my)] {state} jobs",
        "(which|what) jobs are {state}",
    ],
    examples=[
        "what is running in the background?",
        "is anything still downloading or training?",
        "which jobs failed last night?",
        "what waits for the GPU?",
    ],
)
async def jobs_list(
    ctx: Context,
    state: Annotated[JobState | None, Field(description="Only jobs in this state")] = None,
    tool: Annotated[str | None, Field(description="Only jobs of this tool", max_length=48)] = None,
    limit: Annotated[int, Field(description="At most so many, newest first", ge=1, le=500)] = 50,
) -> JobList:
    """List jobs with their state, progress, and why they wait."""
    found = await ctx.parts.jobs.list(ctx.principal, state=state, tool=tool, limit=limit)
    outside = any(_reads_outside(ctx, job) for job in found)
    return JobList(jobs=[entry_of(job) for job in found], outside=outside)


@tool(
    effect=Effect.READ,
    outside=True,
    rest="GET /jobs/{job_id}",
    says=[
        "(show|open) [me] [the] [log of] [the] job {job_id}",
        "(how far|how) is [the] job {job_id}",
        "(status|state|progress) of [the] job {job_id}",
        "(what about|follow|why did) [the] job {job_id} [fail]",
    ],
    examples=["how is job job_0a1b2c3d getting on?", "why did job job_0a1b2c3d fail?"],
)
async def jobs_get(
    ctx: Context,
    job_id: JobId,
    log_lines: Annotated[
        int, Field(description="How many lines of the log's end", ge=0, le=1000)
    ] = 20,
) -> JobReport:
    """Show one job: state, progress, result or error, and the end of its log."""
    jobs = ctx.parts.jobs
    job = await jobs.get(job_id, ctx.principal)
    lines = await jobs.log(job_id, ctx.principal, last=log_lines)
    kept = {name: getattr(job, name) for name in JobReport.model_fields if hasattr(job, name)}
    return JobReport(
        **kept,
        owner=job.owner_name,
        log=lines,
        shown=_result_blocks(ctx, job),
        outside=_reads_outside(ctx, job),
    )


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.KEYED,
    selectors={"tool": Kind.ID, "arguments": Kind.WORDS},
    rest="POST /jobs",
    says=["run {tool} (as a job|in the background)", "(submit|queue) [a job for] {tool}"],
    examples=["run gpu_status as a job", "do that in the background and tell me when it is done"],
)
async def jobs_submit(
    ctx: Context,
    tool: Annotated[str, Field(description="The tool's name", max_length=48)],
    arguments: Annotated[
        dict[str, Any] | None,
        PassesSecret(),
        Field(description="The tool's arguments, by name"),
    ] = None,
    priority: Priority = 0,
) -> JobHandle:
    """Let a worker run a tool as a job; the tool's own permission and approval hold as ever."""
    return await ctx.calls.submit(tool, arguments or {}, priority=priority)


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    selectors={"job_id": Kind.ID},
    rest="POST /jobs/{job_id}/cancel",
    says=["(cancel|stop|abort|kill|end) [the] job {job_id}"],
    examples=["cancel job job_0a1b2c3d", "stop the download job job_0a1b2c3d"],
)
async def jobs_cancel(ctx: Context, job_id: JobId) -> JobChange:
    """Cancel a job: at once while it waits; a running one is told to stop."""
    job = await ctx.parts.jobs.cancel(job_id, ctx.principal)
    return _changed(job, "" if job.state.ended else "It is told to stop.")


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.KEYED,
    selectors={"job_id": Kind.ID},
    rest="POST /jobs/{job_id}/retry",
    says=[
        "(retry|repeat|rerun|restart) [the] job {job_id}",
        "(run|try|start) [the] job {job_id} (again|once more)",
    ],
    examples=["try job job_0a1b2c3d once more", "repeat the failed job job_0a1b2c3d"],
)
async def jobs_retry(ctx: Context, job_id: JobId) -> JobHandle:
    """Run a job that has ended once more, as a new job; approvals are asked anew."""
    job = await ctx.parts.jobs.get(job_id, ctx.principal)
    if not job.state.ended:
        raise Conflict(f"This job is {job.state.value}.", hint="Cancel it first, or wait.")
    return await ctx.calls.submit(
        job.tool, unpinned(job.arguments), priority=job.priority, labels=job.labels
    )


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    selectors={"job_id": Kind.ID, "priority": Kind.NUMBER},
    rest="PUT /jobs/{job_id}/priority",
    says=["(set|change) [the] priority of [the] job {job_id} to {priority}"],
    examples=["let job job_0a1b2c3d go first", "move job job_0a1b2c3d behind the others"],
)
async def jobs_set_priority(ctx: Context, job_id: JobId, priority: Priority) -> JobChange:
    """Let a waiting job go before or after the others."""
    job = await ctx.parts.jobs.set_priority(job_id, priority, ctx.principal)
    return _changed(job, f"Its priority is now {job.priority}.")


def _changed(job: Job, done: str) -> JobChange:
    return JobChange(job_id=job.id, tool=job.tool, state=job.state, done=done)


def _result_blocks(ctx: Context, job: Job) -> list[Block]:
    """Show a result as its tool does; one that an older version wrote may not fit any more."""
    if job.result is None or job.tool not in ctx.parts.registry:
        return []
    try:
        result = ctx.parts.registry.get(job.tool).output_model.model_validate(job.result)
    except ValidationError:
        return [Markdown(text=escape(str(job.result)))]
    return list(result.render())


def _reads_outside(ctx: Context, job: Job) -> bool:
    """Say whether what a job tells may hold text from outside; of an unknown tool, it may.

    Its arguments may have been chosen by whoever had read some, and its error may quote another
    system, just as its progress on the way there.
    """
    registry = ctx.parts.registry
    if tainted(job.labels) or job.error is not None or job.tool not in registry:
        return True
    tool = registry.get(job.tool)
    return tool.outside or bool(tool.egress)
