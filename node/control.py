"""The line to the control plane: joining, and heartbeats that are asked and answered one at a time."""

import asyncio
import hmac
import json
import random
import secrets
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from node.clock import now
from node.config import Identity
from node.detect.network import is_loopback, is_tailscale
from node.documents import read
from node.errors import AgentError, BadRequest, OutOfTouch, Refused
from node.leases import Leases
from node.protocol import (
    HEARTBEAT_SECONDS,
    MAX_BODY,
    Heartbeat,
    HeartbeatAnswer,
    Joined,
    JoinRequest,
    proof,
)

_SECONDS = 5.0
_JOIN_SECONDS = 30.0


def checked_control(url: str) -> str:
    """Return the control plane's address when secrets may be sent to it.

    Raises:
        BadRequest: for plain HTTP to another machine that is not an address of Tailscale.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as error:
        raise BadRequest(f"{url!r} is not an address") from error
    if parts.scheme not in {"http", "https"} or not host or parts.username:
        raise BadRequest(f"{url!r} is not an address", hint="Write it like https://jarvis.example.")
    if parts.scheme == "http" and not (is_loopback(host) or is_tailscale(host)):
        raise BadRequest(
            f"{host} would get secrets over plain HTTP",
            hint="Use https, or the Tailscale address of the machine that Jarvis runs on.",
        )
    return url.rstrip("/")


def control_http(ca: str | None) -> httpx.AsyncClient:
    """Make the client; no proxy of the environment ever sees a secret, no redirect is followed."""
    verify = ssl.create_default_context(cafile=ca) if ca else True
    return httpx.AsyncClient(
        verify=verify, trust_env=False, timeout=httpx.Timeout(_SECONDS, connect=3.0)
    )


async def join(http: httpx.AsyncClient, control: str, request: JoinRequest) -> Joined:
    """Ask to belong; the token is used up when this succeeds.

    Raises:
        OutOfTouch: when the control plane does not answer.
        Refused: when it does not take the token, the name or the address.
    """
    try:
        answer = await http.post(
            f"{control}/api/nodes/join", json=asdict(request), timeout=_JOIN_SECONDS
        )
    except httpx.HTTPError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise OutOfTouch(
                f"{control} shows a certificate that this machine does not trust",
                hint="Name its authority with --ca FILE.",
            ) from error
        raise OutOfTouch(
            f"{control} does not answer ({type(error).__name__})",
            hint="Is Jarvis running there, and does it listen on that address?",
        ) from error
    if answer.is_error:
        raise Refused(*_said(answer))
    return read(Joined, _json(answer))


class Heart:
    """Tells the control plane how this machine is, and takes its word on leases."""

    def __init__(
        self,
        identity: Identity,
        http: httpx.AsyncClient,
        leases: Leases,
        tell: Callable[[str], Awaitable[Heartbeat]],
        heard: Callable[[], None],
    ) -> None:
        """Take what makes a heartbeat (of a nonce), and whom to tell that one was answered."""
        self._identity = identity
        self._http = http
        self._leases = leases
        self._tell = tell
        self._heard = heard
        self._one = asyncio.Lock()
        self.interval = HEARTBEAT_SECONDS
        self.problem = "not tried yet"

    async def beat(self) -> None:
        """Send one heartbeat and take its answer.

        Raises:
            OutOfTouch: when there was no answer, or none that the holder of our key gave.
        """
        async with self._one:
            try:
                await self._beat()
            except AgentError as error:
                self.problem = str(error)
                raise
            self.problem = ""

    async def _beat(self) -> None:
        nonce = secrets.token_hex(16)
        told = await self._tell(nonce)
        sent_at = now()
        answer = await self._post(asdict(told))
        if not hmac.compare_digest(answer.proof, proof(self._identity.key_digest, nonce)):
            raise OutOfTouch("What answered the heartbeat is not our control plane")
        self.interval = min(max(answer.interval, 0.05), 60.0)
        self._leases.renew(sent_at, answer.leases)
        self._heard()

    async def _post(self, document: dict[str, Any]) -> HeartbeatAnswer:
        me = self._identity
        try:
            answer = await self._http.post(
                f"{me.control}/api/nodes/{quote(me.name, safe='')}/heartbeat",
                json=document,
                headers={"Authorization": f"Bearer {me.secret}"},
            )
        except httpx.HTTPError as error:
            raise OutOfTouch(
                f"The control plane does not answer ({type(error).__name__})"
            ) from error
        if answer.is_error:
            raise OutOfTouch(
                ": ".join(("The control plane refused the heartbeat", _said(answer)[0]))
            )
        try:
            return read(HeartbeatAnswer, _json(answer))
        except BadRequest as error:
            raise OutOfTouch(f"The control plane's answer makes no sense: {error}") from error

    async def keep_beating(self, seen: Callable[[str], None]) -> None:
        """Beat until cancelled; tell when the line breaks and when it is back."""
        before = ""
        while True:
            began = now()
            try:
                await self.beat()
            except OutOfTouch as error:
                if before != str(error):
                    seen(f"out of touch: {error}")
                before = str(error)
            else:
                if before:
                    seen("in touch again")
                before = ""
            pause = self.interval * random.uniform(0.9, 1.1) - (now() - began)  # noqa: S311
            await asyncio.sleep(max(0.02, pause))


def _json(answer: httpx.Response) -> Any:
    if len(answer.content) > MAX_BODY:
        raise BadRequest("the answer is too long")
    try:
        return json.loads(answer.content)
    except ValueError as error:
        raise BadRequest("the answer is not JSON") from error


def _said(answer: httpx.Response) -> tuple[str]:
    try:
        document = _json(answer)
    except BadRequest:
        document = None
    found = document if isinstance(document, dict) else {}
    said = str(found.get("detail") or f"error {answer.status_code}")
    hint = str(found.get("hint") or "")
    return (f"{said} {hint}".strip()[:400],)
