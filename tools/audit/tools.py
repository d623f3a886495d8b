"""Search and verify the audit log; the whole of it is exported by `jarvis audit export`."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from nebula.tool.audit.log import Wanted
from nebula.tool.audit.verify import verify
from nebula.tool.context import Context
from nebula.tool.definition import Effect, tool
from tools.audit.schemas import AuditFound, AuditVerified


@tool(
    effect=Effect.READ,
    outside=True,
    rest="GET /audit",
    says=[
        "(show|search) [me] [the] audit log",
        "(show|search) [me] [the] audit log (of|for) {principal}",
        "what did {principal} do",
    ],
    examples=["who switched the GPU last night?", "which calls were denied today?"],
)
async def audit_search(  # noqa: PLR0917 - models pass them by name
    ctx: Context,
    principal: Annotated[
        str | None, Field(description="Only what this person did", max_length=64)
    ] = None,
    tool: Annotated[
        str | None, Field(description="Only calls of this tool", max_length=200)
    ] = None,
    session_id: Annotated[
        str | None, Field(description="Only of this session", max_length=64)
    ] = None,
    outcome: Annotated[
        str | None,
        Field(description="ok, permission_denied, approval_required, …", max_length=40),
    ] = None,
    since: Annotated[
        AwareDatetime | None, Field(description="From this moment on, with time zone")
    ] = None,
    until: Annotated[
        AwareDatetime | None, Field(description="Before this moment, with time zone")
    ] = None,
    text: Annotated[
        str | None, Field(description="Stands in the line, such as in an argument", max_length=200)
    ] = None,
    before: Annotated[int | None, Field(description="Only lines with a lower number", ge=1)] = None,
    limit: Annotated[int, Field(description="At most so many, newest first", ge=1, le=500)] = 50,
) -> AuditFound:
    """Search the log of everything that was done, asked for and refused."""
    wanted = Wanted(
        principal=principal,
        tool=tool,
        session_id=session_id,
        outcome=outcome,
        since=since,
        until=until,
        text=text,
        before=before,
    )
    lines = await ctx.parts.audit.search(wanted, limit=limit)
    return AuditFound(lines=lines, next=lines[-1].seq if len(lines) == limit else None)


@tool(
    effect=Effect.READ,
    outside=True,
    timeout=600,
    rest="GET /audit/verify",
    says=["(verify|check) [the] audit log", "is the audit log (intact|whole)"],
    examples=[
        "has anybody tampered with the audit log?",
        "is the record of what was done complete?",
    ],
)
async def audit_verify(ctx: Context) -> AuditVerified:
    """Check that no line of the audit log was changed, removed, moved or cut off."""
    settings = ctx.parts.settings
    key = settings.audit_anchor_key.get_secret_value()
    return AuditVerified(report=await verify(ctx.parts.db, settings.anchors, key))
