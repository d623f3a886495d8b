"""The audit log as a file, sent as it is read; searching and verifying are tools."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import AwareDatetime
from starlette.responses import Response, StreamingResponse

from api.doors import Open
from api.identity import Who
from nebula.errors import PermissionDenied
from nebula.tool.audit.export import as_csv, as_jsonl
from nebula.tool.audit.log import Wanted

router = APIRouter(prefix="/audit", tags=["audit"])

_TYPES = {"jsonl": "application/x-ndjson", "csv": "text/csv"}
Word = Annotated[str | None, Query(max_length=200)]


@router.get(
    "/export",
    response_class=Response,
    responses={
        200: {"content": {kind: {"schema": {"type": "string"}} for kind in _TYPES.values()}}
    },
)
async def export(  # noqa: PLR0917 - FastAPI passes them by name
    who: Who,
    open_: Open,
    as_: Annotated[
        Literal["jsonl", "csv"], Query(alias="as", description="jsonl can be verified, csv not")
    ] = "jsonl",
    principal: Word = None,
    tool: Word = None,
    session_id: Word = None,
    outcome: Word = None,
    text: Word = None,
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
) -> Response:
    """Send the log, all or what fits, oldest line first, each with its hashes."""
    if not who.principal.can("audit:read"):
        raise PermissionDenied("Exporting the audit log needs the permission audit:read")
    wanted = Wanted(
        principal=principal,
        tool=tool,
        session_id=session_id,
        outcome=outcome,
        text=text,
        since=since,
        until=until,
    )
    parts = open_.app.parts
    line = {
        "principal": who.principal.name,
        "surface": who.surface.value,
        "tool": "audit_export",
        "call_id": "",
        "session_id": None,
        "outcome": "ok",
        "detail": {"arguments": wanted.model_dump(mode="json", exclude_none=True)},
    }
    async with parts.db.session() as session:
        await parts.audit.append(session, line)
    written = (as_csv if as_ == "csv" else as_jsonl)(parts.db, wanted)
    headers = {"Content-Disposition": f'attachment; filename="audit.{as_}"'}
    return StreamingResponse(written, media_type=_TYPES[as_], headers=headers)
