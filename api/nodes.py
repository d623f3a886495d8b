"""The door of machines: joining with a token, heartbeats with a secret, and the agent to install."""

from dataclasses import asdict
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Path, Request
from pydantic import RootModel, ValidationError
from starlette.responses import JSONResponse, Response

from api.bodies import raw_json, takes
from api.doors import Open
from api.identity import client_address, key_of
from api.problems import invalid
from api.rate import Tries
from nebula.errors import NotAuthenticated, TooLarge
from nebula.services.nodes.parcel import parcel
from nebula.services.nodes.registry import read_heartbeat, read_join
from nebula.tool.arguments import parse
from node.protocol import MAX_BODY, Heartbeat, HeartbeatAnswer, Joined, JoinRequest

router = APIRouter(prefix="/nodes", tags=["machines"])

_PER_MINUTE = 30


class JoinBody(RootModel[JoinRequest]):
    """A machine that wants to belong."""


class HeartbeatBody(RootModel[Heartbeat]):
    """How a machine is."""


def _tries(request: Request) -> Tries:
    """Return the counts of this application; made with the first request."""
    if not hasattr(request.app.state, "node_tries"):
        request.app.state.node_tries = Tries(_PER_MINUTE)
    return cast("Tries", request.app.state.node_tries)


async def _document(request: Request) -> dict[str, Any]:
    body = await raw_json(request)
    if len(body) > MAX_BODY:
        raise TooLarge(f"The body is larger than {MAX_BODY} bytes")
    return parse(body)


Document = Annotated[dict[str, Any], Depends(_document)]
Counted = Annotated[Tries, Depends(_tries)]


@router.get("/agent.zip", include_in_schema=False)
async def agent_zip() -> Response:
    """Return the agent's program, which a machine installs before it joins; it holds no secret."""
    packed = await parcel()
    headers = {"ETag": f'"{packed.sha256}"'}
    return Response(packed.content, media_type="application/zip", headers=headers)


@router.post("/join", response_model=Joined, openapi_extra=takes(JoinBody))
async def join(request: Request, doors: Open, tries: Counted, document: Document) -> Response:
    """Let a machine join with a token that works once; its secret and our key are shown only here."""
    tries.take(client_address(request))
    try:
        wish = read_join(document)
    except ValidationError as error:
        raise invalid(error) from error
    return JSONResponse(asdict(await doors.app.parts.nodes.join(wish)))


@router.post(
    "/{name}/heartbeat", response_model=HeartbeatAnswer, openapi_extra=takes(HeartbeatBody)
)
async def heartbeat(
    request: Request,
    doors: Open,
    tries: Counted,
    name: Annotated[str, Path(max_length=80, description="The machine's name")],
) -> Response:
    """Take how a machine is, shown its secret, and answer which leases of its cards hold."""
    nodes, secret = doors.app.parts.nodes, key_of(request)
    if secret is None:
        raise NotAuthenticated("Send the machine's secret as 'Authorization: Bearer …'")
    try:
        await nodes.admit(name, secret)
    except NotAuthenticated:
        tries.take(client_address(request))
        raise
    try:
        beat = read_heartbeat(await _document(request))
    except ValidationError as error:
        raise invalid(error) from error
    return JSONResponse(asdict(await nodes.heartbeat(name, secret, beat)))
