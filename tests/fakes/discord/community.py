"""The fake's members, roles, time-outs, bans and polls; it refuses, limits and fails on demand."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.fakes.discord import payloads
from tests.fakes.discord.gateway import MEMBERS
from tests.fakes.discord.payloads import Doc, as_json

if TYPE_CHECKING:
    from tests.fakes.discord.server import FakeDiscord


@dataclass
class Community:
    """Who is on the server, and what was done to them."""

    fake: "FakeDiscord"
    members: dict[str, Doc] = field(default_factory=dict)
    banned: set[str] = field(default_factory=set)
    kicked: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    level: int = 0
    forbidden: set[str] = field(default_factory=set)
    """Parts of paths that the bot may not use, such as `bans`; answered 403."""
    failing: list[int] = field(default_factory=list)
    """Statuses that the next requests to servers, members and messages get."""

    def __post_init__(self) -> None:
        self.enter(payloads.BOT, "jarvis", [payloads.BOT_ROLE], bot=True)

    def enter(
        self, user_id: str, name: str, roles: Any = (), *, bot: bool = False, pending: bool = False
    ) -> Doc:
        """Put somebody on the server without telling anyone."""
        user = payloads.user(user_id, name, bot=bot)
        doc = {**payloads.member(list(roles)), "user": user, "pending": pending}
        self.members[user_id] = doc
        return doc

    async def joins(self, user_id: str, name: str, *, pending: bool = False) -> None:
        """Let somebody join; a bot that did not ask for members is not told."""
        doc = self.enter(user_id, name, pending=pending)
        doc["joined_at"] = datetime.now(UTC).isoformat()
        if self.fake.gateway.intents & MEMBERS:
            await self.fake.gateway.dispatch(
                "GUILD_MEMBER_ADD", {**doc, "guild_id": payloads.GUILD}
            )

    async def leaves(self, user_id: str) -> None:
        """Let somebody leave."""
        doc = self.members.pop(user_id)
        if self.fake.gateway.intents & MEMBERS:
            gone = {"guild_id": payloads.GUILD, "user": doc["user"]}
            await self.fake.gateway.dispatch("GUILD_MEMBER_REMOVE", gone)

    def roles_of(self, user_id: str) -> list[str]:
        return list(self.members[user_id]["roles"])

    def silent_for(self, user_id: str) -> float:
        """Return for how many minutes somebody is timed out."""
        until = self.members.get(user_id, {}).get("communication_disabled_until")
        if until is None:
            return 0.0
        return (datetime.fromisoformat(until).timestamp() - time.time()) / 60

    def poll(self, asked: Doc) -> Doc:
        """Return a poll as Discord keeps it."""
        answers = [{"answer_id": n + 1, **each} for n, each in enumerate(asked["answers"])]
        ends = datetime.now(UTC) + timedelta(hours=asked["duration"])
        return {
            "question": asked["question"],
            "answers": answers,
            "expiry": ends.isoformat(),
            "allow_multiselect": asked["allow_multiselect"],
            "layout_type": 1,
            "results": {"is_finalized": False, "answer_counts": []},
        }

    def misbehaving(self, method: str, parts: list[str]) -> web.Response | None:
        """Return a refusal or failure that was asked for."""
        if self.forbidden.intersection(parts) and method != "GET":
            return as_json({"message": "Missing Permissions", "code": 50013}, 403)
        ours = parts[0] == "guilds" or parts[-1] in {"messages", "bulk-delete"}
        if not self.failing or not ours:
            return None
        status = self.failing.pop(0)
        head = {"Retry-After": "0.02", "Via": "1.1 fake"} if status == 429 else {}
        said = {"message": "no", "retry_after": 0.02, "global": False}
        return as_json(said, status, head)

    def route(  # noqa: C901 - one case per route reads best
        self, request: web.Request, parts: list[str], body: Any
    ) -> web.Response | None:
        if reason := request.headers.get("X-Audit-Log-Reason"):
            self.reasons.append(reason)
        match (request.method, *parts):
            case ("GET", "guilds", payloads.GUILD):
                return as_json({**self.fake.gateway.guild, "verification_level": self.level})
            case ("PATCH", "guilds", payloads.GUILD):
                self.level = body["verification_level"]
                return as_json(self.fake.gateway.guild)
            case ("GET", "guilds", payloads.GUILD, "channels"):
                channels = self.fake.channels.values()
                return as_json([each for each in channels if "guild_id" in each])
            case ("GET", "guilds", payloads.GUILD, "members", "search"):
                return self._search(request.query["query"])
            case (_, "guilds", payloads.GUILD, "members", user_id, *rest):
                return self._member(request.method, user_id, rest, body)
            case ("PUT", "guilds", payloads.GUILD, "bans", user_id):
                self.banned.add(user_id)
                self.members.pop(user_id, None)
                return web.Response(status=204)
            case ("DELETE", "guilds", payloads.GUILD, "bans", user_id):
                if user_id not in self.banned:
                    return as_json({"message": "Unknown Ban", "code": 10026}, 404)
                self.banned.remove(user_id)
                return web.Response(status=204)
            case ("DELETE", "channels", _, "messages", message_id):
                return self._delete([message_id])
            case ("POST", "channels", _, "messages", "bulk-delete"):
                assert 2 <= len(body["messages"]) <= 100
                return self._delete(body["messages"])
            case ("GET", "channels", _, "messages", message_id):
                return as_json(self.fake.messages[message_id].doc)
            case ("POST", "channels", _, "polls", message_id, "expire"):
                doc = self.fake.messages[message_id].doc
                doc["poll"]["results"]["is_finalized"] = True
                return as_json(doc)
        return None

    def _member(self, method: str, user_id: str, rest: list[str], body: Any) -> web.Response:
        doc = self.members.get(user_id)
        if doc is None:
            return as_json({"message": "Unknown Member", "code": 10007}, 404)
        match (method, *rest):
            case ("PATCH",):
                doc["communication_disabled_until"] = body["communication_disabled_until"]
            case ("DELETE",):
                self.kicked.append(user_id)
                del self.members[user_id]
                return web.Response(status=204)
            case ("PUT", "roles", role_id):
                doc["roles"] = [*dict.fromkeys([*doc["roles"], role_id])]
                return web.Response(status=204)
            case ("DELETE", "roles", role_id):
                doc["roles"] = [each for each in doc["roles"] if each != role_id]
                return web.Response(status=204)
        return as_json(doc)

    def _search(self, query: str) -> web.Response:
        found = [
            doc
            for doc in self.members.values()
            if doc["user"]["username"].casefold().startswith(query.casefold())
        ]
        return as_json(found)

    def _delete(self, ids: list[str]) -> web.Response:
        gone = [each for each in ids if each in self.fake.messages]
        if not gone:
            return as_json({"message": "Unknown Message", "code": 10008}, 404)
        for each in gone:
            del self.fake.messages[each]
            self.fake.order.remove(each)
        self.deleted += gone
        return web.Response(status=204)
