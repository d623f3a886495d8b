"""The tools as an MCP server (streamable HTTP): what a client sees depends on its API key."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from fastmcp import FastMCP
from fastmcp.server.dependencies import get_http_request
from fastmcp.server.http import StarletteWithLifespan
from fastmcp.server.providers import Provider
from fastmcp.tools.base import Tool as McpTool
from fastmcp.tools.base import ToolResult
from fastmcp.utilities.versions import VersionSpec
from mcp.types import ToolAnnotations
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.approval_page import page_of
from api.doors import Doors, doors_of
from api.identity import key_of
from api.problems import problem
from nebula.auth.principal import Caller, Surface
from nebula.auth.tokens import digest
from nebula.errors import ApprovalRequired, NebulaError, NotAuthenticated
from nebula.jobs.job import JobHandle
from nebula.markup.neutral import neutral
from nebula.markup.text import visible
from nebula.policy.labels import Label
from nebula.tool.definition import AnyTool, Effect, EffectKind
from nebula.tool.render import to_markdown
from nebula.tool.result import Result

PATH = "/mcp"
_INSTRUCTIONS = (
    "Tools of a homelab and creator control plane. Some calls need a person's approval: the answer "
    "then holds a link and an approval id; wait until a person approved, then repeat the call "
    "with the same arguments."
)


class McpDoor:
    """Lets in who brings a valid API key; everyone else gets a 401 in our error shape."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap the MCP application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive)
        try:
            doors = doors_of(request)
            key = key_of(request)
            if key is None:
                raise NotAuthenticated(
                    "MCP needs an API key", hint="Send Authorization: Bearer jk_…"
                )
            principal = await doors.app.parts.auth.principal_for_key(key)
        except NebulaError as error:
            await problem(error)(scope, receive, send)
            return
        request.state.principal = principal
        request.state.doors = doors
        await self._app({**scope, "path": PATH, "root_path": ""}, receive, send)


def create_mcp(version: str) -> tuple[McpDoor, StarletteWithLifespan]:
    """Return the door to mount, and the application whose lifespan the server runs."""
    server: FastMCP[Any] = FastMCP(
        "Nebula Command",
        version=version,
        instructions=_INSTRUCTIONS,
        providers=[_Tools()],
        mask_error_details=True,
        dereference_schemas=False,
    )
    app = server.http_app(path=PATH, stateless_http=True, json_response=True)
    return McpDoor(app), app


class _Tools(Provider):
    """Offers each client the tools that its principal may use now."""

    async def _list_tools(self) -> Sequence[McpTool]:
        return [_described(tool) for tool in _visible()]

    async def _get_tool(self, name: str, version: VersionSpec | None = None) -> McpTool | None:
        del version  # there is one version of each tool
        return next((_described(tool) for tool in _visible() if tool.name == name), None)


class _RegistryTool(McpTool):
    """One tool of ours; the executor authorizes, validates and runs it."""

    async def run(self, arguments: dict[str, Any]) -> ToolResult:
        """Run the tool as the request's principal."""
        doors, caller = _asking()
        call_id = await _call_id(doors, caller, self.name, arguments)
        try:
            result = await doors.app.executor.execute(
                self.name, arguments, caller=caller, call_id=call_id
            )
        except ApprovalRequired as waiting:
            link = doors.app.parts.settings.link
            return _failed(waiting, approve_at=f"{link}{page_of(waiting.approval_id)}")
        except NebulaError as error:
            return _failed(error)
        shown = text_of(result)
        if isinstance(result, JobHandle):
            shown += (
                f"\n\nIt goes on in the background. Call jobs_get with job_id "
                f"{result.job_id!r} to see how far it is and, at the end, its result."
            )
        return ToolResult(content=shown, structured_content=result.model_dump(mode="json"))


def text_of(result: Result) -> str:
    """Write a result as Markdown that loads nothing, wherever the client shows it."""
    return neutral(to_markdown(result.render()))


def _described(tool: AnyTool) -> McpTool:
    read = tool.effect is Effect.READ
    return _RegistryTool(
        name=tool.name,
        description=tool.description,
        parameters=tool.schema(),
        output_schema=tool.answer_model.model_json_schema(mode="serialization"),
        tags={tool.feature},
        annotations=ToolAnnotations(
            title=tool.name.replace("_", " "),
            readOnlyHint=read,
            destructiveHint=tool.effect is Effect.DESTRUCTIVE,
            idempotentHint=read or tool.kind is EffectKind.IDEMPOTENT,
            openWorldHint=tool.outside,
        ),
    )


def _visible() -> list[AnyTool]:
    doors, caller = _asking()
    return doors.app.executor.visible(caller.principal, by_model=True, surface=Surface.MCP)


def _asking() -> tuple[Doors, Caller]:
    """Return the program and the caller of the request being served."""
    state = get_http_request().state
    # What the client's model has read is unknown to us, so its calls count as touched by
    # outside text and by what is private: they look freely, but contact no place of their own
    # choice, and every effect is put before a person.
    labels = frozenset({Label.USER, Label.OUTSIDE, Label.PRIVATE})
    caller = Caller(state.principal, Surface.MCP, labels=labels, by_model=True)
    return state.doors, caller


async def _call_id(doors: Doors, caller: Caller, name: str, arguments: dict[str, Any]) -> str:
    """Return the id of the waiting or decided call that this repeats, or a fresh one.

    MCP clients send no id of their own for a repeated call, so it is found by what it asks.
    """
    canonical = json.dumps([name, arguments], sort_keys=True, ensure_ascii=True)
    prefix = f"mcp-{digest(canonical)[:24]}-"
    principal = caller.principal
    for approval in await doors.app.parts.approvals.list(principal, state=None, limit=200):
        mine = approval.principal_id == principal.id and approval.call_id.startswith(prefix)
        if mine and approval.state not in {"used", "expired", "withdrawn"}:
            still_news = datetime.now(UTC) < approval.expires_at
            return approval.call_id if still_news else prefix + uuid4().hex[:12]
    return prefix + uuid4().hex[:12]


def _failed(error: NebulaError, **more: str) -> ToolResult:
    """Return an error as a result the client's model can act on."""
    body = {**error.payload(), **more}
    lines = [f"{error.code}: {error}", error.hint]
    if isinstance(error, ApprovalRequired):
        lines.append(
            f"A person must decide approval {error.approval_id} at {more['approve_at']} "
            "Then make the same call again."
        )
    else:
        lines.append("This may work later." if error.retryable else "Do not just repeat it.")
    text = visible("\n".join(line for line in lines if line))
    return ToolResult(content=text, structured_content=body, is_error=True)
