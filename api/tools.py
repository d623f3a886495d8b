"""Tools over REST: one route for all by name, and the conventional paths of `rest=`."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, FastAPI, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from api.bodies import raw_json
from api.doors import Open
from api.identity import Who
from api.problems import BadRequest, problem
from api.query import arguments_of
from nebula.auth.principal import Caller, Surface
from nebula.errors import ApprovalRequired, InvalidInput, NotFound
from nebula.jobs.job import JobHandle
from nebula.tool.arguments import parse
from nebula.tool.definition import AnyTool, BadDeclaration, Effect
from nebula.tool.executor import Executor
from nebula.tool.registry import Registry
from nebula.tool.render import to_markdown

router = APIRouter(prefix="/tools", tags=["tools"])

CALL_ID = "Idempotency-Key"
_LONGEST_ID = 128


class ToolInfo(BaseModel):
    """A tool as a client needs to know it."""

    name: str
    feature: str
    description: str
    effect: Effect
    permission: str
    rest: str | None = Field(None, description="Its conventional route, as METHOD /path")
    examples: list[str] = Field(description="What a person might say to get it")
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]


@router.get("")
async def list_tools(who: Who, open_: Open) -> list[ToolInfo]:
    """List the tools you may use, with their schemas."""
    shown = open_.app.executor.visible(who.principal, by_model=False, surface=Surface.REST)
    return [_info(tool) for tool in shown]


@router.get("/{name}")
async def get_tool(name: str, who: Who, open_: Open) -> ToolInfo:
    """Describe one tool."""
    shown = open_.app.executor.visible(who.principal, by_model=False, surface=Surface.REST)
    for tool in shown:
        if tool.name == name:
            return _info(tool)
    raise NotFound(f"There is no tool {name!r}", hint="GET /api/tools lists those you may use.")


@router.post("/{name}", include_in_schema=False)
async def call_tool(name: str, request: Request, who: Who, open_: Open) -> Response:
    """Run a tool; the OpenAPI document has an entry for each one."""
    # Raw, because the executor authorizes before it looks at arguments.
    return await _run(open_.app.executor, name, await raw_json(request), who, request)


def add_conventional(app: FastAPI, registry: Registry) -> None:
    """Add the routes that tools declare with `rest=`."""
    for tool in sorted(registry, key=_order):
        if tool.rest is None:
            continue
        method, path = tool.rest.split(" ")
        if method == "GET" and tool.effect is not Effect.READ:
            raise BadDeclaration(f"{tool.name}: a GET changes nothing, so it cannot be its route")
        app.add_api_route(
            path, _conventional(tool, method), methods=[method], include_in_schema=False
        )


def _order(tool: AnyTool) -> list[bool]:
    """Put a path with a word before one with a parameter there: /agents/runs is no agent."""
    return [part.startswith("{") for part in (tool.rest or "").split("/")]


def _conventional(
    tool: AnyTool, method: str
) -> Callable[[Request, Caller, Any], Awaitable[Response]]:
    async def endpoint(request: Request, who: Who, open_: Open) -> Response:
        arguments: Mapping[str, Any] | bytes
        if method in {"GET", "DELETE"}:
            arguments = arguments_of(tool, request.query_params.multi_items())
        else:
            arguments = await raw_json(request)
        if request.path_params:
            arguments = _with_path(arguments, request.path_params)
        return await _run(open_.app.executor, tool.name, arguments, who, request)

    return endpoint


def _with_path(
    arguments: Mapping[str, Any] | bytes, path: Mapping[str, Any]
) -> Mapping[str, Any] | bytes:
    """Add what the path says; what it says cannot be said again."""
    if isinstance(arguments, bytes):
        try:
            arguments = parse(arguments)
        except InvalidInput:
            return arguments  # the executor authorizes first, then refuses it the same way
    twice = arguments.keys() & path.keys()
    # Kept under a name no tool has, so that it is refused after authorization.
    return {**arguments, **path, **{f"{name} (already in the path)": None for name in twice}}


async def _run(
    executor: Executor,
    name: str,
    arguments: Mapping[str, Any] | bytes,
    who: Caller,
    request: Request,
) -> Response:
    call_id = _call_id(request)
    headers = {CALL_ID: call_id}
    try:
        result = await executor.execute(name, arguments, caller=who, call_id=call_id)
    except ApprovalRequired as waiting:
        link = f"/api/approvals/{waiting.approval_id}"
        return problem(waiting, {**headers, "Location": link})
    status = 200
    if isinstance(result, JobHandle):
        status, headers["Location"] = 202, f"/api/jobs/{result.job_id}"
    if "text/markdown" in request.headers.get("accept", ""):
        text = to_markdown(result.render())
        return Response(text, status, headers, "text/markdown; charset=utf-8")
    return Response(result.model_dump_json(), status, headers, "application/json")


def _call_id(request: Request) -> str:
    """Return the caller's own id for this call, or a fresh one."""
    given = request.headers.get(CALL_ID)
    if given is None:
        return f"rest-{uuid4().hex}"
    if not 1 <= len(given) <= _LONGEST_ID or not given.isascii() or not given.isprintable():
        raise BadRequest(f"{CALL_ID} has 1 to {_LONGEST_ID} printable ASCII characters")
    return given


def _info(tool: AnyTool) -> ToolInfo:
    return ToolInfo(
        name=tool.name,
        feature=tool.feature,
        description=tool.description,
        effect=tool.effect,
        permission=tool.permission,
        rest=None if tool.rest is None else tool.rest.replace(" ", " /api", 1),
        examples=list(tool.examples),
        input_schema=tool.schema(),
        output_schema=tool.answer_model.model_json_schema(mode="serialization"),
    )
