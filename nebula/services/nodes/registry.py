"""Who joined and how they are. Time is the database's; secrets are kept hashed or sealed."""

import hmac
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import httpx
import structlog
from pydantic import BaseModel, ConfigDict, TypeAdapter
from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.tokens import new_token
from nebula.db.engine import Database
from nebula.errors import Conflict, InvalidInput, NebulaError, NotAuthenticated, NotFound
from nebula.gpu.snapshot import GpuReading
from nebula.secrets.vault import Vault
from nebula.services.directory import Publisher, ServiceDirectory
from nebula.services.nodes import fragments
from nebula.services.nodes.client import NodeClient
from nebula.services.nodes.models import JoinTokenRow, NodeRow
from nebula.services.nodes.node import FOUND, HARDWARE, HEARTBEAT, Node, NodeHealth, health_of
from nebula.services.nodes.node import readings as readings_of
from nebula.services.nodes.place import checked_url
from node.protocol import (
    NAME_PATTERN,
    Heartbeat,
    HeartbeatAnswer,
    Joined,
    JoinRequest,
    Renewal,
    digest,
    proof,
)

log = structlog.get_logger()

LiveLeases = Callable[[AsyncSession, str], Awaitable[Sequence[Renewal]]]
"""Returns the leases of a node that hold now, in the heartbeat's transaction."""

_JOIN: TypeAdapter[JoinRequest] = TypeAdapter(JoinRequest)


class JoinToken(BaseModel):
    """A fresh token; it is shown only here."""

    model_config = ConfigDict(frozen=True)

    token: str
    expires_at: datetime


class OpenToken(BaseModel):
    """A token that could still be used, without the token itself."""

    model_config = ConfigDict(frozen=True)

    made_by: str
    created_at: datetime
    expires_at: datetime


class NodeRegistry:
    """Lets machines join, hears their heartbeats, and hands out clients for their agents."""

    def __init__(
        self,
        db: Database,
        vault: Vault,
        http: httpx.AsyncClient,
        services: ServiceDirectory,
        events: Publisher | None = None,
    ) -> None:
        """Take the database, what seals keys, the HTTP client, and the map's directory."""
        self._db = db
        self._vault = vault
        self._http = http
        self._services = services
        self._events = events
        self.live_leases: LiveLeases | None = None
        """Set by the composition root, when there are leases."""

    async def create_token(self, made_by: str, *, minutes: float = 60.0) -> JoinToken:
        """Make a token with which one machine may join.

        Raises:
            InvalidInput: when the lifetime is not between a minute and a week.
        """
        if not 1 <= minutes <= 7 * 24 * 60:
            raise InvalidInput("A join token lives between a minute and a week")
        token = new_token()
        row = JoinTokenRow(
            token_hash=digest(token),
            made_by=made_by,
            expires_at=func.clock_timestamp() + timedelta(minutes=minutes),
        )
        async with self._db.session() as s:
            s.add(row)
            await s.flush()
            await s.refresh(row)
            return JoinToken(token=token, expires_at=row.expires_at)

    async def tokens(self) -> Sequence[OpenToken]:
        """Return the tokens that could still be used."""
        query = (
            select(JoinTokenRow)
            .where(JoinTokenRow.used_at.is_(None))
            .where(JoinTokenRow.expires_at > func.clock_timestamp())
            .order_by(JoinTokenRow.expires_at)
        )
        async with self._db.session() as s:
            rows = await s.scalars(query)
            return [OpenToken.model_validate(row, from_attributes=True) for row in rows]

    async def join(self, request: JoinRequest) -> Joined:
        """Let a machine join: use up its token, and give it its secret and our key.

        Raises:
            NotAuthenticated: when the token is unknown, used or expired.
            Conflict: when another machine of that name is in touch with us.
            InvalidInput: when its name or address will not do.
        """
        if not re.fullmatch(NAME_PATTERN, request.name):
            raise InvalidInput(
                f"{request.name[:60]!r} cannot name a machine",
                hint="Use up to 40 small letters, digits and hyphens, like gaming-pc.",
            )
        await self._services.refresh()
        joined = Joined(node=request.name, secret=new_token(), key=new_token())
        row = await self._row(request, joined)
        async with self._db.session() as s:
            await self._use(s, request)
            self._unknown_to_map(request.name)  # only who has a token learns names
            await self._put(s, row)
            used = update(JoinTokenRow).where(JoinTokenRow.token_hash == digest(request.token))
            await s.execute(used.values(used_by=request.name))
        await self._write_fragment(request.name)
        log.info("node joined", node=request.name, url=row["url"])
        await self._tell("node.joined", {"node": request.name, "url": row["url"]})
        return joined

    async def _row(self, request: JoinRequest, joined: Joined) -> dict[str, Any]:
        return {
            "name": request.name,
            "url": checked_url(request.url),
            "secret_hash": digest(joined.secret),
            "key_sealed": await self._vault.seal(joined.key),
            "hardware": HARDWARE.dump_python(request.hardware, mode="json"),
            "found": FOUND.dump_python(request.found, mode="json"),
        }

    async def _use(self, s: AsyncSession, request: JoinRequest) -> None:
        """Mark the token as used; two machines at once cannot both find it unused."""
        used = (
            update(JoinTokenRow)
            .where(JoinTokenRow.token_hash == digest(request.token))
            .where(JoinTokenRow.used_at.is_(None))
            .where(JoinTokenRow.expires_at > func.clock_timestamp())
            .values(used_at=func.clock_timestamp())
            .returning(JoinTokenRow.token_hash)
        )
        if await s.scalar(used) is None:
            raise NotAuthenticated(
                "This join token is unknown, used or expired",
                hint="Make a fresh one with `jarvis node token`, or ask Jarvis to set up a machine.",
            )

    def _unknown_to_map(self, name: str) -> None:
        """Refuse the name of a machine that somebody wrote into the map."""
        spec = self._services.map.node(name)
        if spec is not None and not spec.agent:
            raise Conflict(
                f"The service map has a node {name!r} already",
                hint="Take another name, or remove that node from the map.",
            )

    async def _put(self, s: AsyncSession, row: dict[str, Any]) -> None:
        """Store the machine; one of the same name is replaced only when it is silent."""
        known = (
            await s.execute(_seen().where(NodeRow.name == row["name"]).with_for_update())
        ).first()
        if known is not None and health_of(known[1]) is not NodeHealth.OFFLINE:
            raise Conflict(
                f"A machine called {row['name']!r} is here already",
                hint="Choose another name with --name, or stop that machine's agent first.",
            )
        fresh = {k: v for k, v in row.items() if k != "name"}
        fresh |= {"beat": None, "heartbeat_at": None, "joined_at": func.clock_timestamp()}
        await s.execute(
            insert(NodeRow).values(**row).on_conflict_do_update(index_elements=["name"], set_=fresh)
        )

    async def admit(self, name: str, secret: str) -> None:
        """Let a machine in that shows its secret, before anything it says is read.

        Raises:
            NotAuthenticated: when the machine is unknown or its secret is wrong.
        """
        async with self._db.session() as s:
            held = await s.scalar(select(NodeRow.secret_hash).where(NodeRow.name == name))
        _checked(held, secret)

    async def heartbeat(self, name: str, secret: str, beat: Heartbeat) -> HeartbeatAnswer:
        """Take what a machine tells, and tell it which leases hold.

        Raises:
            NotAuthenticated: when the machine is unknown or its secret is wrong.
        """
        hears: dict[str, Any] = {
            "heartbeat_at": func.clock_timestamp(),
            "beat": HEARTBEAT.dump_python(beat, mode="json", exclude={"hardware", "nonce"}),
            "found": FOUND.dump_python(beat.found, mode="json"),
        }
        if beat.hardware is not None:
            hears["hardware"] = HARDWARE.dump_python(beat.hardware, mode="json")
        if beat.url is not None:
            hears["url"] = checked_url(beat.url)
        async with self._db.session() as s:
            row = (await s.execute(_seen().where(NodeRow.name == name).with_for_update())).first()
            _checked(row[0].secret_hash if row else None, secret)
            assert row is not None
            node, silent = row
            changed = beat.hardware is not None or node.found != hears["found"] or beat.url
            before, sealed = health_of(silent), node.key_sealed
            await s.execute(update(NodeRow).where(NodeRow.name == name).values(**hears))
            leases = tuple(await self.live_leases(s, name)) if self.live_leases else ()
        if changed:
            await self._write_fragment(name)
        if before is NodeHealth.OFFLINE:
            await self._tell("node.online", {"node": name})
        key = await self._vault.open(sealed)
        return HeartbeatAnswer(proof=proof(digest(key), beat.nonce), leases=leases)

    async def list(self) -> Sequence[Node]:
        """Return every machine, by name."""
        async with self._db.session() as s:
            rows = (await s.execute(_seen().order_by(NodeRow.name))).all()
            return [_shown(row, silent) for row, silent in rows]

    async def get(self, name: str) -> Node:
        """Return one machine.

        Raises:
            NotFound: when none of that name joined.
        """
        row, silent = await self._found(name)
        return _shown(row, silent)

    async def health(self, name: str) -> NodeHealth:
        """Say whether a machine was heard lately; raises NotFound for one that never joined."""
        return health_of((await self._found(name))[1])

    async def readings(self, name: str, *, fresh: bool = False) -> tuple[GpuReading, ...]:
        """Return the cards of a machine by its agent's last word, or by its word right now.

        Raises:
            NotFound: when none of that name joined.
            UpstreamUnavailable, TimedOut: when it was to be asked, and does not answer.
        """
        node = await self.get(name)
        if not fresh:
            return readings_of(node, self._services.map)
        metrics = await (await self.client(name)).metrics()
        now = node.model_copy(update={"metrics": metrics, "health": NodeHealth.ONLINE})
        found = readings_of(now, self._services.map)
        return tuple(card.model_copy(update={"age": 0.0}) for card in found)

    async def client(self, name: str) -> NodeClient:
        """Return what speaks to a machine's agent; raises NotFound."""
        row, _ = await self._found(name)
        return NodeClient(self._http, name, row.url, await self._vault.open(row.key_sealed))

    async def remove(self, name: str) -> None:
        """Forget a machine and its part of the map; its agent is refused from now on."""
        async with self._db.session() as s:
            gone = delete(NodeRow).where(NodeRow.name == name).returning(NodeRow.name)
            if await s.scalar(gone) is None:
                raise _unknown(name, [])
        await fragments.remove(self._services.path, name)
        await self._services.refresh()
        await self._tell("node.removed", {"node": name})

    async def _found(self, name: str) -> tuple[NodeRow, float | None]:
        async with self._db.session() as s:
            row = (await s.execute(_seen().where(NodeRow.name == name))).first()
            if row is None:
                raise _unknown(name, list(await s.scalars(select(NodeRow.name))))
            return row[0], row[1]

    async def _write_fragment(self, name: str) -> None:
        """Write a machine's part of the map; a disk that refuses must not refuse the machine."""
        node = await self.get(name)
        try:
            written = await fragments.write(self._services.path, node, self._services.map)
        except OSError as error:
            log.warning("map fragment not written", node=name, error=str(error))
            return
        if written:
            await self._services.refresh()

    async def _tell(self, kind: str, data: dict[str, object]) -> None:
        if self._events is None:
            return
        try:
            await self._events.publish("nodes", kind, data)
        except NebulaError as error:
            log.warning("node event not stored", kind=kind, error=str(error))


def _checked(held: str | None, secret: str) -> None:
    if held is None or not hmac.compare_digest(held, digest(secret)):
        raise NotAuthenticated(
            "This machine is not known, or its secret is wrong",
            hint="Join again with a fresh token.",
        )


def read_join(document: dict[str, Any]) -> JoinRequest:
    """Read a join request; raises pydantic's ValidationError or InvalidInput."""
    _storable(document)
    return _JOIN.validate_python(document)


def read_heartbeat(document: dict[str, Any]) -> Heartbeat:
    """Read a heartbeat; raises pydantic's ValidationError or InvalidInput."""
    _storable(document)
    return HEARTBEAT.validate_python(document)


def _storable(document: dict[str, Any]) -> None:
    """Refuse what PostgreSQL's jsonb cannot hold: NUL in text, numbers without end."""
    try:
        text = json.dumps(document, allow_nan=False)
    except ValueError as error:
        raise InvalidInput("A number in it has no end") from error
    if "\\u0000" in text:
        raise InvalidInput("A text in it holds a NUL character")


def _seen() -> Any:
    silent = func.extract("epoch", func.clock_timestamp() - NodeRow.heartbeat_at)
    return select(NodeRow, silent)


def _shown(row: NodeRow, silent: Any) -> Node:
    seconds = None if silent is None else max(0.0, float(silent))
    beat = None if row.beat is None else HEARTBEAT.validate_python({"nonce": "", **row.beat})
    known: dict[str, Any] = {}
    if beat is not None:
        known = {
            "metrics": beat.metrics,
            "tasks": beat.tasks,
            "services": beat.services,
            "commands": beat.commands,
            "recipes": beat.recipes,
        }
    return Node(
        name=row.name,
        url=row.url,
        health=health_of(seconds),
        silent_seconds=None if seconds is None else round(seconds, 2),
        joined_at=row.joined_at,
        hardware=HARDWARE.validate_python(row.hardware),
        found=FOUND.validate_python(row.found),
        **known,
    )


def _unknown(name: str, known: Sequence[str]) -> NotFound:
    there = f"Machines: {', '.join(sorted(known))}." if known else "No machine joined yet."
    return NotFound(
        f"There is no machine {name[:80]!r}", hint=f"{there} `nodes_bootstrap` adds one."
    )
