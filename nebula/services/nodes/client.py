"""Speaks to one agent. Every call has a time-out; only what is safe to repeat is repeated."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from nebula.errors import (
    Conflict,
    InvalidInput,
    NebulaError,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    TimedOut,
    UpstreamRejected,
    UpstreamUnavailable,
)
from node.protocol import (
    CommandInfo,
    Hardware,
    LogView,
    Metrics,
    RecipeInfo,
    ServiceReport,
    TaskReport,
    TaskRequest,
    TaskView,
)

T = TypeVar("T")

_SECONDS = 10.0
_MOST = 4 * 1024 * 1024
# Nothing was sent, or the connection broke: the calls that use this may be sent again.
_AGAIN = (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@asynccontextmanager
async def node_http(
    transport: httpx.AsyncBaseTransport | None, authority: Path | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """Open the client for agents: no proxy of the environment ever sees a node's key.

    `authority` is a file of certificates that nodes' own may be signed with.

    Raises:
        InvalidInput: when there is no certificate in that file.
    """
    from nebula.http import USER_AGENT

    async with httpx.AsyncClient(
        transport=transport,
        verify=_trusting(authority),
        trust_env=False,
        timeout=httpx.Timeout(_SECONDS, connect=3.0),
        headers={"User-Agent": USER_AGENT},
    ) as http:
        yield http


def _trusting(authority: Path | None) -> ssl.SSLContext:
    """Return the shared TLS context, or one that trusts an authority too."""
    from nebula.http import ssl_context

    if authority is None:
        return ssl_context()
    context = httpx.create_ssl_context()
    try:
        context.load_verify_locations(authority)
    except OSError as error:  # ssl.SSLError is one
        raise InvalidInput(
            f"{authority} holds no certificate that can be read ({error.strerror or error})",
            hint="JARVIS_NODE_CA names a file in PEM form.",
        ) from error
    return context


class NodeClient:
    """One agent's doors, authenticated with the key that it got when it joined."""

    def __init__(self, http: httpx.AsyncClient, name: str, url: str, key: str) -> None:
        """Take the client, the node's name for errors, its address and our key."""
        self._http = http
        self.name = name
        self.url = url
        self._key = key

    async def hardware(self) -> Hardware:
        """Have the machine look at itself anew."""
        return self._read(Hardware, await self._ask("GET", "/v1/hardware", seconds=30.0))

    async def metrics(self) -> Metrics:
        """Return how busy it is right now."""
        return self._read(Metrics, await self._ask("GET", "/v1/metrics", seconds=5.0))

    async def commands(self) -> tuple[CommandInfo, ...]:
        """Return what its owner allows to be run."""
        return self._read(tuple[CommandInfo, ...], await self._ask("GET", "/v1/commands"))

    async def recipes(self) -> tuple[RecipeInfo, ...]:
        """Return what it knows how to install."""
        return self._read(tuple[RecipeInfo, ...], await self._ask("GET", "/v1/recipes"))

    async def start(self, request: TaskRequest) -> TaskReport:
        """Start a task; the same request again finds it running.

        Raises:
            Conflict: when the token belongs to the past, or the lease is not known.
            PermissionDenied: when the node's owner does not allow the command.
            NotFound: when the node has no such command.
            UpstreamUnavailable: when it was surely not started.
            OutcomeUnknown: when it may have been started; `task` tells.
        """
        body = asdict(request)
        try:
            answer = await self._once("POST", "/v1/tasks", body, _SECONDS)
        except (UpstreamUnavailable, TimedOut) as error:
            if isinstance(error.__cause__, _NOT_SENT):
                raise
            answer = await self._start_again(body)
        return self._read(TaskReport, answer)

    async def _start_again(self, body: dict[str, Any]) -> Any:
        """Ask once more: the task's id is a key, so that nothing is started twice."""
        try:
            return await self._once("POST", "/v1/tasks", body, _SECONDS)
        except (UpstreamUnavailable, TimedOut) as error:
            raise OutcomeUnknown(
                f"{self.name} fell silent while it was asked to start something",
                hint="nodes_get shows what runs there.",
            ) from error

    async def task(self, task_id: str, *, after: int = 0, wait: float = 0.0) -> TaskView:
        """Return a task with its log from a place on, waiting up to `wait` seconds for more."""
        path = f"/v1/tasks/{quote(task_id, safe='')}?after={after}&wait={wait:g}"
        return self._read(TaskView, await self._ask("GET", path, seconds=_SECONDS + wait))

    async def kill(self, task_id: str) -> TaskReport:
        """Stop a task and everything it started; return when it is confirmed gone."""
        path = f"/v1/tasks/{quote(task_id, safe='')}"
        return self._read(TaskReport, await self._ask("DELETE", path, seconds=30.0))

    async def services(self) -> tuple[ServiceReport, ...]:
        """Return the services that the agent looks after."""
        return self._read(tuple[ServiceReport, ...], await self._ask("GET", "/v1/services"))

    async def service(self, name: str, action: str) -> ServiceReport:
        """Start, stop or restart a service."""
        again = action != "restart"
        path = f"/v1/services/{quote(name, safe='')}/{action}"
        answer = await self._ask("POST", path, {}, seconds=60.0, again=again)
        return self._read(ServiceReport, answer)

    async def logs(self, name: str, *, lines: int = 100) -> LogView:
        """Return the last lines of a service's log."""
        path = f"/v1/services/{quote(name, safe='')}/logs?lines={lines}"
        return self._read(LogView, await self._ask("GET", path))

    async def wake(self, mac: str, broadcast: str | None = None) -> None:
        """Have the agent wake another machine of its network."""
        await self._ask("POST", "/v1/wake", {"mac": mac, "broadcast": broadcast})

    def _read(self, kind: type[T], document: Any) -> T:
        try:
            return TypeAdapter(kind).validate_python(document)
        except ValidationError as error:
            raise self._nonsense() from error

    async def _ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        seconds: float = _SECONDS,
        again: bool = True,
    ) -> Any:
        try:
            return await self._once(method, path, body, seconds)
        except UpstreamUnavailable as error:
            if again and isinstance(error.__cause__, _AGAIN):
                return await self._once(method, path, body, seconds)
            raise

    async def _once(self, method: str, path: str, body: Any, seconds: float) -> Any:
        timeout = httpx.Timeout(seconds, connect=3.0)
        headers = {"Authorization": f"Bearer {self._key}"}
        try:
            async with self._http.stream(
                method, self.url + path, json=body, timeout=timeout, headers=headers
            ) as answer:
                content = bytearray()
                async for chunk in answer.aiter_bytes():
                    content += chunk
                    if len(content) > _MOST:
                        raise self._nonsense()
        except httpx.TimeoutException as error:
            raise TimedOut(
                f"The machine {self.name} did not answer within {seconds:g} s",
                hint="nodes_get shows when it was last heard.",
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise UpstreamUnavailable(
                    f"What answers at {self.url} shows a certificate that we do not trust",
                    hint="JARVIS_NODE_CA names the authority of machines' own certificates.",
                ) from error
            raise UpstreamUnavailable(
                f"The agent of {self.name} does not answer at {self.url}",
                hint="Is the machine on? nodes_wake wakes it; `python -m node run` starts its agent.",
            ) from error
        try:
            document = httpx.Response(200, content=bytes(content)).json()
        except ValueError as error:
            raise self._nonsense() from error
        if answer.is_error:
            raise self._refusal(answer.status_code, document).quoting()
        return document

    def _nonsense(self) -> UpstreamRejected:
        return UpstreamRejected(
            f"What answers at {self.url} is not the agent of {self.name}",
            hint="Another program may use its port, or the agent is of another version.",
        )

    def _refusal(self, status: int, document: Any) -> NebulaError:
        known = document if isinstance(document, dict) else {}
        said = " ".join(str(known.get("detail") or f"error {status}").split())[:300]
        hint = " ".join(str(known.get("hint") or "").split())[:300]
        told = f"{self.name}: {said}"
        match status:
            case 401:
                return UpstreamRejected(
                    f"The agent of {self.name} does not take our key",
                    hint="It was joined anew or to another Jarvis: join it again.",
                )
            case 403:
                return PermissionDenied(told, hint=hint)
            case 404:
                return NotFound(told, hint=hint)
            case 409:
                return Conflict(told, hint=hint)
            case 400 | 413 | 422:
                return InvalidInput(told, hint=hint)
            case 503:
                return UpstreamUnavailable(told, hint=hint)
            case _:
                return UpstreamRejected(told, hint=hint)
