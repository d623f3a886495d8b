"""A conversation with Jarvis from the terminal: with a running server, or in this process."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from nebula.errors import (
    ApprovalRequired,
    InternalError,
    NebulaError,
    UpstreamUnavailable,
    by_code,
)
from ui.cli.approve import Answer
from ui.cli.beacon import Beacon, running
from ui.cli.operator import operator, people, read_settings

if TYPE_CHECKING:
    import httpx

    from graphs.events import ChatEvent
    from graphs.jarvis.service import Jarvis
    from nebula.app import App
    from nebula.auth.principal import Caller, Principal
    from nebula.db.engine import Database
    from nebula.events.bus import Events
    from nebula.tool.approvals import Approvals
    from ui.cli.job_screen import JobDesk

_SILENCE_SECONDS = 60.0  # the server sends a heartbeat every 15
_ACCEPT = {"Accept": "text/event-stream"}


class Conversation(Protocol):
    """What the chat needs of Jarvis."""

    where: str

    async def begin_read_only(self) -> str:
        """Begin a session in which Jarvis only looks, and return its id."""
        ...

    def send(self, text: str, session_id: str | None) -> "AsyncGenerator[ChatEvent, None]":
        """Say something and yield the turn's events."""
        ...

    def resume(self, session_id: str) -> "AsyncGenerator[ChatEvent, None]":
        """Go on after a decision."""
        ...

    async def cancel(self, session_id: str) -> None:
        """Stop the running turn."""
        ...

    async def card(self, approval_id: str) -> Mapping[str, Any]:
        """Return the question behind an approval."""
        ...

    async def decide(self, approval_id: str, answer: Answer, comment: str) -> None:
        """Answer it as the person at this terminal."""
        ...

    async def answered(self, approval_id: str) -> Mapping[str, Any]:
        """Wait until somebody has answered it, at any door, or it has expired."""
        ...

    def desk(self) -> "AbstractAsyncContextManager[JobDesk]":
        """See to it that jobs run while inside, and say where they are read."""
        ...


@asynccontextmanager
async def open_conversation() -> AsyncIterator[Conversation]:
    """Talk to the server of this data folder when one is up, else open Jarvis here."""
    beacon = await asyncio.to_thread(running, read_settings().home)
    opened = _with_server(beacon) if beacon is not None else _in_this_process()
    async with opened as conversation:
        yield conversation


class _Deciding:
    """Approvals are decided through the data folder: the person is at this machine."""

    def __init__(self, approvals: "Approvals", principal: "Principal") -> None:
        self._approvals = approvals
        self._principal = principal

    async def card(self, approval_id: str) -> Mapping[str, Any]:
        """Return the question behind an approval."""
        card = await self._approvals.get(approval_id, self._principal)
        return card.model_dump(mode="json")

    async def answered(self, approval_id: str) -> Mapping[str, Any]:
        """Wait until somebody has answered it, at any door, or it has expired."""
        card = await self._approvals.until_answered(approval_id, self._principal)
        return card.model_dump(mode="json")

    async def decide(self, approval_id: str, answer: Answer, comment: str) -> None:
        """Answer it as the person at this terminal."""
        from nebula.auth.principal import Surface

        await self._approvals.decide(
            approval_id,
            decision=answer,
            by=self._principal,
            surface=Surface.TERMINAL,
            comment=comment,
        )


class LocalConversation(_Deciding):
    """Jarvis in this process."""

    where = "in this process"

    def __init__(self, jarvis: "Jarvis", caller: "Caller", app: "App") -> None:
        """Take the open Jarvis, who speaks, and the App below."""
        super().__init__(app.parts.approvals, caller.principal)
        self._jarvis = jarvis
        self._caller = caller
        self._app = app

    @asynccontextmanager
    async def desk(self) -> "AsyncIterator[JobDesk]":
        """See to it that jobs run while inside, and say where they are read."""
        from ui.cli.jobs import desk_of, somebody_works

        async with somebody_works(self._app):
            yield desk_of(self._app, self._caller.principal)

    async def begin_read_only(self) -> str:
        """Begin a session in which Jarvis only looks, and return its id."""
        from nebula.auth.grant import READ_ONLY

        who = self._caller
        session = await self._jarvis.sessions.create(who.principal, who.surface)
        await self._app.parts.auth.sessions.put(session.id, READ_ONLY)
        return session.id

    def send(self, text: str, session_id: str | None) -> "AsyncGenerator[ChatEvent, None]":
        """Say something and yield the turn's events."""
        return _closable(self._jarvis.send(self._caller, text, session_id=session_id))

    def resume(self, session_id: str) -> "AsyncGenerator[ChatEvent, None]":
        """Go on after a decision."""
        caller = replace(self._caller, session_id=session_id)
        return _closable(self._jarvis.resume(caller, session_id))

    async def cancel(self, session_id: str) -> None:
        """Stop the running turn."""
        await self._jarvis.cancel(self._caller, session_id)


class ServerConversation(_Deciding):
    """Jarvis in the running server, over its REST door."""

    def __init__(
        self, http: "httpx.AsyncClient", database: "Database", events: "Events", who: "Principal"
    ) -> None:
        """Take a client that carries the terminal's key, and the server's database."""
        from nebula.auth.service import Auth
        from nebula.tool.approvals import Approvals

        settings = read_settings()
        super().__init__(Approvals(database, events, settings, Auth(database, settings)), who)
        self._http = http
        self._database = database
        self._job_events = events
        self.where = f"with {http.base_url}"

    async def begin_read_only(self) -> str:
        """Begin a session in which Jarvis only looks, and return its id."""
        import httpx

        try:
            answer = await self._http.post("/api/sessions", json={"read_only": True})
        except httpx.HTTPError as error:
            raise UpstreamUnavailable("The server does not answer") from error
        if answer.status_code >= 400:
            raise _told(answer.status_code, answer.content)
        return str(answer.json()["id"])

    def send(self, text: str, session_id: str | None) -> "AsyncGenerator[ChatEvent, None]":
        """Say something and yield the turn's events."""
        body = {"message": text} | ({"session_id": session_id} if session_id else {})
        return self._events("/api/jarvis/chat", body)

    def resume(self, session_id: str) -> "AsyncGenerator[ChatEvent, None]":
        """Go on after a decision."""
        return self._events(f"/api/jarvis/chat/{session_id}/resume", None)

    async def cancel(self, session_id: str) -> None:
        """Stop the running turn."""
        import httpx

        with suppress(httpx.HTTPError):
            await self._http.post(f"/api/jarvis/chat/{session_id}/cancel")

    @asynccontextmanager
    async def desk(self) -> "AsyncIterator[JobDesk]":
        """Say where jobs are read; the server's workers run them."""
        from nebula.jobs.service import open_jobs
        from nebula.tool.registry import Registry
        from ui.cli.job_screen import JobDesk

        registry = await asyncio.to_thread(Registry.discover, "tools", "graphs")
        jobs = open_jobs(self._database, self._job_events, registry)
        yield JobDesk(jobs, self._job_events, registry, self._principal, self._cancel_job)

    async def _cancel_job(self, job_id: str) -> None:
        await self._http.post(f"/api/jobs/{job_id}/cancel")

    async def _events(
        self, path: str, body: dict[str, str] | None
    ) -> "AsyncGenerator[ChatEvent, None]":
        import httpx
        from pydantic import TypeAdapter

        from graphs.events import ChatEvent

        reader: TypeAdapter[ChatEvent] = TypeAdapter(ChatEvent)
        try:
            async with self._http.stream("POST", path, json=body, headers=_ACCEPT) as answer:
                if answer.status_code >= 400:
                    raise _told(answer.status_code, await answer.aread())
                async for line in answer.aiter_lines():
                    if line.startswith("data: "):
                        yield reader.validate_json(line.removeprefix("data: "))
        except httpx.HTTPError as error:
            raise UpstreamUnavailable(
                "The server stopped answering",
                hint="Your message is kept; run 'jarvis chat' again.",
            ) from error


async def _closable(events: "AsyncIterator[ChatEvent]") -> "AsyncGenerator[ChatEvent, None]":
    async for event in events:
        yield event


def _told(status: int, body: bytes) -> NebulaError:
    """Turn the one error shape back into its error."""
    try:
        shape = json.loads(body)
        kind = by_code(str(shape["code"]))
        if kind in (ApprovalRequired, InternalError):
            kind = NebulaError
        return kind(str(shape["detail"]), hint=str(shape.get("hint", "")))
    except (ValueError, KeyError, TypeError):
        return UpstreamUnavailable(f"The server answered with status {status}")


@asynccontextmanager
async def _in_this_process() -> AsyncIterator[Conversation]:
    from graphs.jarvis.service import open_jarvis
    from ui.cli.operator import seated

    async with seated() as seat, open_jarvis(seat.app) as jarvis:
        yield LocalConversation(jarvis, seat.caller, seat.app)


@asynccontextmanager
async def _with_server(beacon: Beacon) -> AsyncIterator[Conversation]:
    import httpx

    from nebula.auth.principal import Role
    from nebula.events.bus import Events

    async with people() as (auth, database), Events(database) as events:
        person = await operator(auth)
        # The key lives as long as this conversation; a day if this process is killed.
        key = await auth.keys.create(person.id, "terminal chat", role=Role.ADMIN, days=1)
        try:
            timeout = httpx.Timeout(10.0, read=_SILENCE_SECONDS)
            headers = {"Authorization": f"Bearer {key.key}"}
            async with httpx.AsyncClient(
                base_url=beacon.url, headers=headers, timeout=timeout, trust_env=False
            ) as http:
                yield ServerConversation(http, database, events, person)
        finally:
            await auth.keys.revoke(key.id)
