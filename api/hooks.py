"""The door of webhooks: signed deliveries of other systems, taken once each."""

from typing import Annotated, cast

from fastapi import APIRouter, Path, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from api.doors import Doors, Open
from api.identity import client_address
from api.problems import UnsupportedMediaType, problem
from api.rate import Tries
from nebula.errors import NotAuthenticated, Paused, TooLarge
from tools.webhooks.taking import Taking

router = APIRouter(prefix="/hooks", tags=["webhooks"])

MAX_BODY = 256 * 1024
_WRONG_PER_MINUTE = 30
_RIGHT_PER_MINUTE = 120
_AFTER_A_PAUSE = {"Retry-After": "300"}


class _Door:
    """What the deliveries to one server share."""

    def __init__(self, doors: Doors) -> None:
        self.taking = Taking(doors.app.parts)
        self.wrong = Tries(_WRONG_PER_MINUTE)
        self.right = Tries(_RIGHT_PER_MINUTE)


def _door(request: Request, doors: Doors) -> _Door:
    """Return the door of this application; made with the first delivery."""
    if not hasattr(request.app.state, "hooks"):
        request.app.state.hooks = _Door(doors)
    return cast("_Door", request.app.state.hooks)


@router.post("/{hook}", responses={200: {"description": "Taken, or known already"}})
async def deliver(
    request: Request,
    doors: Open,
    hook: Annotated[str, Path(max_length=60, description="The webhook's id, whk_…")],
) -> Response:
    """Take a signed delivery; whoever cannot sign learns nothing, not even whether it exists."""
    door = _door(request, doors)
    body = await _body(request)
    try:
        genuine = await door.taking.admit(hook, request.headers, body)
    except NotAuthenticated:
        door.wrong.take(client_address(request))
        raise
    door.right.take(genuine.hook.id)
    _require_json(request)
    try:
        taken = await door.taking.take(genuine)
    except Paused as error:
        return problem(error, _AFTER_A_PAUSE)
    if taken.challenge:
        return PlainTextResponse(taken.challenge)
    return JSONResponse({"outcome": taken.outcome})


def _require_json(request: Request) -> None:
    """Refuse what is declared as anything else; only who can sign hears of it."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedMediaType(
            "A delivery must be JSON", hint="At GitHub, choose the content type application/json."
        )


async def _body(request: Request) -> bytes:
    """Return the bytes that were signed, as they are; raise TooLarge as soon as they are too many."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise TooLarge(f"The body is larger than {MAX_BODY} bytes")
    return bytes(body)
