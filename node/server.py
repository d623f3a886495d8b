"""The agent's doors: HTTP with the control plane's key, on loopback, Tailscale or TLS only."""

import asyncio
import hmac
import json
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from node.agent import Agent, say
from node.config import Identity
from node.detect.network import is_loopback, is_tailscale, send_magic_packet
from node.documents import read, write
from node.errors import AgentError, BadRequest, OutOfTouch
from node.protocol import MAX_BODY, Problem, RecipeInfo, TaskRequest, digest

_LONGEST_WAIT = 20.0
_BODY_SECONDS = 10.0
Door = Callable[[Agent, Request], Awaitable[Any]]


async def _health(agent: Agent, _: Request) -> Any:
    heart = agent.heart
    return {"status": "ok", "node": agent.identity.name, "control": heart.problem if heart else ""}


async def _hardware(agent: Agent, _: Request) -> Any:
    return write(await agent.look())


async def _metrics(agent: Agent, _: Request) -> Any:
    return write(await agent.metrics())


async def _commands(agent: Agent, _: Request) -> Any:
    return [asdict(c.info()) for c in agent.home.config().commands.values()]


async def _recipes(agent: Agent, _: Request) -> Any:
    installed = agent.home.config().services
    return [
        asdict(RecipeInfo(r.name, r.kind, r.version, r.disk, r.vram, r.name in installed))
        for r in agent.work.recipes()
    ]


async def _start(agent: Agent, request: Request) -> Any:
    return write(await agent.tasks.start(read(TaskRequest, await _json(request))))


async def _task(agent: Agent, request: Request) -> Any:
    after = _number(request, "after", 0, 2**62)
    wait = _number(request, "wait", 0, _LONGEST_WAIT)
    return write(await agent.tasks.view(request.path_params["id"], after=int(after), wait=wait))


async def _kill(agent: Agent, request: Request) -> Any:
    return write(await agent.tasks.kill(request.path_params["id"]))


async def _services(agent: Agent, _: Request) -> Any:
    return write(agent.supervisor.reports())


async def _service(agent: Agent, request: Request) -> Any:
    actions = {
        "start": agent.supervisor.start,
        "stop": agent.supervisor.stop,
        "restart": agent.supervisor.restart,
    }
    action = actions.get(request.path_params["action"])
    if action is None:
        raise BadRequest("A service is started, stopped or restarted")
    return write(await action(request.path_params["name"]))


async def _logs(agent: Agent, request: Request) -> Any:
    lines = int(_number(request, "lines", 100, 2000))
    return write(await asyncio.to_thread(agent.supervisor.logs, request.path_params["name"], lines))


async def _wake(_: Agent, request: Request) -> Any:
    document = await _json(request)
    mac, broadcast = document.get("mac"), document.get("broadcast")
    if not isinstance(mac, str) or not (broadcast is None or isinstance(broadcast, str)):
        raise BadRequest("A MAC address wakes a machine, like 01:23:45:67:89:ab")
    try:
        await asyncio.to_thread(send_magic_packet, mac, broadcast)
    except (ValueError, OSError) as error:
        raise BadRequest(f"The packet could not be sent: {error}") from error
    return {"sent": True}


_ROUTES: tuple[tuple[str, str, Door], ...] = (
    ("GET", "/v1/health", _health),
    ("GET", "/v1/hardware", _hardware),
    ("GET", "/v1/metrics", _metrics),
    ("GET", "/v1/commands", _commands),
    ("POST", "/v1/commands", _start),
    ("GET", "/v1/recipes", _recipes),
    ("POST", "/v1/tasks", _start),
    ("GET", "/v1/tasks/{id}", _task),
    ("DELETE", "/v1/tasks/{id}", _kill),
    ("GET", "/v1/services", _services),
    ("GET", "/v1/services/{name}/logs", _logs),
    ("POST", "/v1/services/{name}/{action}", _service),
    ("POST", "/v1/wake", _wake),
)


def create_app(agent: Agent) -> ASGIApp:
    """Build the doors of an open agent."""

    def opened(door: Door) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                return JSONResponse(await door(agent, request))
            except AgentError as error:
                return _problem(error)

        return answer

    routes = [Route(path, opened(door), methods=[verb]) for verb, path, door in _ROUTES]
    return _Guard(Starlette(routes=routes), agent.identity.key_digest)


class _Guard:
    """Lets nobody in without the key: compared in constant time, before anything is read."""

    def __init__(self, app: ASGIApp, key_digest: str) -> None:
        self._app = app
        self._key_digest = key_digest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        given = next((v for k, v in scope["headers"] if k == b"authorization"), b"").decode(
            "latin-1"
        )
        key = given.removeprefix("Bearer ") if given.startswith("Bearer ") else ""
        if not hmac.compare_digest(digest(key), self._key_digest):
            body = Problem("not_authenticated", "The key is missing or wrong")
            await JSONResponse(asdict(body), 401)(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - the outermost handler of this door
            say(f"{scope['path']} failed: {type(error).__name__}: {error}")
            await JSONResponse(asdict(Problem("internal_error", "The agent failed")), 500)(
                scope, receive, send
            )


async def _json(request: Request) -> dict[str, Any]:
    """Read a body that must be a JSON object, within limits of size and time."""
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise BadRequest("The body is too large")
        document = json.loads(bytes(body) or b"{}")
    except TimeoutError as error:
        raise BadRequest("The body took too long") from error
    except (ValueError, RecursionError) as error:
        raise BadRequest("The body is not JSON") from error
    if not isinstance(document, dict):
        raise BadRequest("The body must be an object")
    return document


def _number(request: Request, name: str, default: float, most: float) -> float:
    try:
        given = float(request.query_params.get(name, default))
    except ValueError as error:
        raise BadRequest(f"{name} must be a number") from error
    if not 0 <= given <= most:
        raise BadRequest(f"{name} is between 0 and {most:g}")
    return given


def _problem(error: AgentError) -> Response:
    headers = {"Retry-After": "2"} if isinstance(error, OutOfTouch) else None
    body = asdict(Problem(error.code, str(error), error.hint))
    return JSONResponse(body, error.status, headers=headers)


class _Server(uvicorn.Server):
    """Ends when told to, and then lets its caller tidy up: uvicorn would end the process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals while it serves."""
        taken = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in taken}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


async def serve(app: ASGIApp, listener: socket.socket, me: Identity) -> None:
    """Serve the doors until SIGTERM or Ctrl-C."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=3,
        limit_concurrency=200,
        h11_max_incomplete_event_size=64 * 1024,
        ssl_certfile=me.tls_cert,
        ssl_keyfile=me.tls_key,
    )
    await _Server(config).serve(sockets=[listener])


def checked_bind(host: str, *, tls: bool) -> str:
    """Return an address to listen on; raises BadRequest for one that others could overhear."""
    if tls or is_loopback(host) or is_tailscale(host):
        return host
    raise BadRequest(
        f"{host} is neither loopback nor Tailscale's",
        hint="Give a certificate with --tls-cert and --tls-key to listen there.",
    )
