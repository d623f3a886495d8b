"""The one place where drivers speak HTTP, and where its errors become ours."""

from typing import Any

import httpx

from nebula.errors import (
    NebulaError,
    NotFound,
    TimedOut,
    UpstreamRejected,
    UpstreamUnavailable,
)

# Cutting a half-sent request and asking again is safe: every call here is idempotent.
_RETRIED = (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError)


class Wire:
    """One service's HTTP address, and the name its errors carry."""

    def __init__(self, http: httpx.AsyncClient, name: str, url: str) -> None:
        """Take the client, the service's name in the map, and its base URL."""
        self._http = http
        self.name = name
        self.url = url

    async def get(self, path: str, *, seconds: float = 3.0) -> Any:
        """Return the JSON a path answers with; asks twice when the connection breaks."""
        try:
            return await self._ask("GET", path, None, seconds)
        except UpstreamUnavailable as error:
            if isinstance(error.__cause__, _RETRIED):
                return await self._ask("GET", path, None, seconds)
            raise

    async def post(
        self, path: str, body: dict[str, Any] | None = None, *, seconds: float = 10.0
    ) -> Any:
        """Send JSON and return the JSON answer, or None when the answer is empty."""
        return await self._ask("POST", path, body, seconds)

    async def delete(self, path: str, body: dict[str, Any], *, seconds: float = 30.0) -> Any:
        """Send a DELETE with JSON and return the JSON answer, or None when it is empty."""
        return await self._ask("DELETE", path, body, seconds)

    async def _ask(self, method: str, path: str, body: Any, seconds: float) -> Any:
        try:
            answer = await self._http.request(
                method, self.url + path, json=body, timeout=httpx.Timeout(seconds, connect=3.0)
            )
        except httpx.TimeoutException as error:
            raise TimedOut(
                f"{self.name} did not answer within {seconds:g} s",
                hint="It may be busy; look at gpu_status and try again.",
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UpstreamUnavailable(
                f"{self.name} does not answer at {self.url}",
                hint=f"Start {self.name}, or correct its address in service-map.yml.",
            ) from error
        if answer.is_error:
            raise _refusal(self.name, answer)
        if not answer.content.strip():
            return None
        try:
            return answer.json()
        except ValueError as error:
            raise self.nonsense() from error

    def nonsense(self) -> UpstreamRejected:
        """Return the error for an answer that this kind of service would not give."""
        return UpstreamRejected(
            f"What answers at {self.url} is not what {self.name} should be",
            hint="Another program may use this port; check service-map.yml.",
        )

    def mapping(self, document: Any) -> dict[str, Any]:
        """Return an answer that must be a JSON object; raises UpstreamRejected otherwise."""
        if not isinstance(document, dict):
            raise self.nonsense()
        return document


def refused(error: BaseException) -> bool:
    """Say whether nothing listens there: a dead program refuses, a stopped one is silent."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionRefusedError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _refusal(name: str, answer: httpx.Response) -> NebulaError:
    said = _said(answer)
    detail = f": {said}" if said else ""
    if answer.status_code == 404:
        return NotFound(f"{name} does not know that{detail}")
    if answer.status_code in {401, 403}:
        return UpstreamRejected(
            f"{name} asks for a password", hint=f"Run {name} without one on this network."
        )
    return UpstreamRejected(f"{name} refused with error {answer.status_code}{detail}")


def _said(answer: httpx.Response) -> str:
    """Return the service's own words about an error, short and on one line."""
    try:
        document = answer.json()
    except ValueError:
        return ""
    said = document.get("error") or document.get("detail") if isinstance(document, dict) else None
    if isinstance(said, dict):
        said = said.get("message")
    return " ".join(str(said).split())[:200] if said else ""


def number(value: Any) -> int | None:
    """Read a byte count another program sent; anything odd is unknown, not zero."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value < 2**50 else None
