"""Asks the JSON APIs of model hubs; their errors become ours here, once."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx

from nebula.errors import (
    NebulaError,
    NotFound,
    PermissionDenied,
    RateLimited,
    TimedOut,
    TooLarge,
    UpstreamRejected,
    UpstreamUnavailable,
)
from nebula.http import origin_of
from tools.models.download import retry_after

Params = Mapping[str, str | int | Sequence[str]]

_SECONDS: Final = 20.0
_MAX_BYTES: Final = 16 * 1024 * 1024
_PATIENCE: Final = 5.0
"""Seconds to wait for a rate limit; a longer wait is told instead."""
_HOPS: Final = 3


class Hub:
    """One hub's API: its name for people, its address from the settings, and the token."""

    def __init__(
        self, http: httpx.AsyncClient, name: str, endpoint: str, token: str, sign_in: str
    ) -> None:
        """Take what names it; `sign_in` is what to do when it asks who is there."""
        self._http = http
        self.name = name
        self.endpoint = endpoint
        self.sign_in = sign_in
        self._token = token

    @property
    def credentials(self) -> dict[str, str]:
        """Return the headers that say who asks; empty without a token."""
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    @property
    def trusted(self) -> frozenset[str]:
        """Return the origin that the operator named, private networks included."""
        return frozenset({origin_of(self.endpoint)})

    async def get(self, path: str, params: Params | None = None) -> Any:
        """Return the JSON that a path answers with; asks twice when that can help.

        Raises:
            NebulaError: as the hub answers; NotFound, PermissionDenied, RateLimited and so on.
        """
        for again in (True, False):
            try:
                return await self._ask(path, params)
            except (UpstreamUnavailable, _Limited) as error:
                wait = error.wait if isinstance(error, _Limited) else 0.0
                if not again or wait > _PATIENCE:
                    raise
                await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    async def _ask(self, path: str, params: Params | None) -> Any:
        url = httpx.URL(self.endpoint + path, params=_flat(params or {}))
        try:
            async with asyncio.timeout(_SECONDS):
                for _ in range(_HOPS):
                    status, headers, body = await self._once(url)
                    if status not in {301, 302, 307, 308} or "location" not in headers:
                        return self._read(status, headers, body)
                    url = self._same_origin(url, headers["location"])
        except (TimeoutError, httpx.TimeoutException) as error:
            raise TimedOut(f"{self.name} did not answer within {_SECONDS:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UpstreamUnavailable(
                f"{self.name} does not answer",
                hint="Is this machine connected to the internet? Try again later.",
            ) from error
        raise UpstreamRejected(f"{self.name} redirects in a circle")

    async def _once(self, url: httpx.URL) -> tuple[int, httpx.Headers, bytes]:
        headers = {"Accept": "application/json", **self.credentials}
        body = bytearray()
        async with self._http.stream("GET", url, headers=headers, timeout=_SECONDS) as answer:
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > _MAX_BYTES:
                    raise TooLarge(f"{self.name} answered with more than it ever should")
            return answer.status_code, answer.headers, bytes(body)

    def _same_origin(self, url: httpx.URL, location: str) -> httpx.URL:
        following = url.join(location)
        # The token goes along, so it must stay where it belongs.
        if origin_of(str(following)) not in self.trusted:
            raise UpstreamRejected(f"{self.name} redirects its API to another host")
        return following

    def _read(self, status: int, headers: httpx.Headers, body: bytes) -> Any:
        if status >= 400:
            raise self._refusal(status, headers)
        try:
            return json.loads(body)
        except ValueError as error:
            raise self.nonsense() from error

    def _refusal(self, status: int, headers: httpx.Headers) -> NebulaError:
        if status in {401, 403}:
            return PermissionDenied(f"{self.name} asks who is there", hint=self.sign_in)
        if status == 404:
            return NotFound(f"{self.name} has nothing of that name")
        if status == 429:
            return _Limited(self.name, retry_after(headers.get("retry-after", "")))
        if status >= 500:
            return UpstreamUnavailable(f"{self.name} has an error ({status})")
        return UpstreamRejected(f"{self.name} refused with error {status}")

    def nonsense(self) -> UpstreamRejected:
        """Return the error for an answer that this hub would not give."""
        return UpstreamRejected(
            f"What answers at {self.endpoint} is not what {self.name} should be",
            hint="Check its address in the settings.",
        )


class _Limited(RateLimited):
    def __init__(self, name: str, wait: float | None) -> None:
        self.wait = 1.0 if wait is None else wait
        super().__init__(f"{name} limits the rate; try again in {self.wait:.0f} s")


def _flat(params: Params) -> list[tuple[str, str | int | float | bool | None]]:
    found: list[tuple[str, str | int | float | bool | None]] = []
    for name, value in params.items():
        several = [value] if isinstance(value, str | int) else value
        found += [(name, each) for each in several]
    return found
