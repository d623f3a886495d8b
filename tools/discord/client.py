"""Discord's REST, for what is done on a server without being connected to the gateway.

Everything asked here may be asked again: messages carry a nonce that Discord enforces, the rest
sets a state. So a lost answer and a 5xx are tried again, and a 429 is waited for.
https://discord.com/developers/docs/reference
"""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from nebula.errors import (
    InvalidInput,
    NotAuthenticated,
    NotFound,
    PermissionDenied,
    RateLimited,
    UpstreamRejected,
    UpstreamUnavailable,
)
from tools.discord.settings import DiscordSettings

if TYPE_CHECKING:
    from nebula.app import Parts

_TRIES = 3
_SECONDS = 10.0
_PATIENCE = 8.0
"""Seconds to wait for a rate limit; a longer wait is told instead."""
_AGAIN = 0.5
_BULK = 100
SILENT: Mapping[str, Any] = {"parse": []}
"""Nobody is mentioned."""
_NO_PREVIEWS = 1 << 2

Doc = dict[str, Any]


class DiscordRest:
    """What the bot may ask of Discord."""

    def __init__(self, parts: "Parts") -> None:
        """Take the program's HTTP client and settings.

        Raises:
            InvalidInput: when there is no bot token.
        """
        settings = parts.settings_of(DiscordSettings)
        token = settings.token.get_secret_value().strip()
        if not token:
            hint = "Set JARVIS_DISCORD_TOKEN; see the manual, “Discord”."
            raise InvalidInput("There is no bot token", hint=hint)
        self._http = parts.http
        self._base = settings.api.rstrip("/")
        self._head = {"Authorization": f"Bot {token}"}

    async def guild(self, guild_id: str) -> Doc:
        """Return a server with its roles."""
        doc: Doc = await self._ask("GET", f"/guilds/{guild_id}")
        return doc

    async def channels(self, guild_id: str) -> list[Doc]:
        """Return a server's channels."""
        found: Any = await self._ask("GET", f"/guilds/{guild_id}/channels")
        return list(found)

    async def me(self) -> Doc:
        """Return the bot's own account."""
        doc: Doc = await self._ask("GET", "/users/@me")
        return doc

    async def member(self, guild_id: str, user_id: str) -> Doc:
        """Return a member of a server; raises NotFound."""
        doc: Doc = await self._ask("GET", f"/guilds/{guild_id}/members/{user_id}")
        return doc

    async def search(self, guild_id: str, name: str) -> list[Doc]:
        """Return members whose name begins so."""
        path = f"/guilds/{guild_id}/members/search?query={quote(name[:100])}&limit=20"
        found: Any = await self._ask("GET", path)
        return list(found)

    async def send(
        self,
        channel_id: str,
        text: str,
        *,
        nonce: str,
        mention: str | None = None,
        poll: Mapping[str, Any] | None = None,
    ) -> Doc:
        """Post a message that mentions nobody, or one person; with the same nonce it is one."""
        body: Doc = {
            "content": text,
            "nonce": hashlib.sha256(nonce.encode()).hexdigest()[:25],
            "enforce_nonce": True,
            "allowed_mentions": SILENT if mention is None else {"parse": [], "users": [mention]},
            "flags": _NO_PREVIEWS,
        }
        if poll is not None:
            body = {**body, "poll": dict(poll)}
            del body["flags"]
        path = f"/channels/{channel_id}/messages"
        doc: Doc = await self._ask("POST", path, body, needs="Send Messages")
        return doc

    async def message(self, channel_id: str, message_id: str) -> Doc:
        """Return a message."""
        doc: Doc = await self._ask("GET", f"/channels/{channel_id}/messages/{message_id}")
        return doc

    async def direct(self, user_id: str) -> str:
        """Return the channel of direct messages with somebody."""
        body = {"recipient_id": user_id}
        return str((await self._ask("POST", "/users/@me/channels", body))["id"])

    async def end_poll(self, channel_id: str, message_id: str) -> Doc:
        """End a poll before its time."""
        doc: Doc = await self._ask("POST", f"/channels/{channel_id}/polls/{message_id}/expire")
        return doc

    async def delete_messages(self, channel_id: str, ids: list[str], reason: str) -> None:
        """Delete messages of one channel; those that are gone are not missed."""
        path, needs = f"/channels/{channel_id}/messages", "Manage Messages"
        for at in range(0, len(ids), _BULK):
            some = ids[at : at + _BULK]
            try:
                if len(some) == 1:
                    await self._ask("DELETE", f"{path}/{some[0]}", needs=needs, reason=reason)
                else:
                    body = {"messages": some}
                    await self._ask("POST", f"{path}/bulk-delete", body, needs=needs, reason=reason)
            except NotFound:
                continue

    async def time_out(self, guild_id: str, user_id: str, until: str | None, reason: str) -> None:
        """Let a member say nothing until then (ISO 8601); None lets them speak again."""
        body = {"communication_disabled_until": until}
        path = f"/guilds/{guild_id}/members/{user_id}"
        await self._ask("PATCH", path, body, needs="Moderate Members", reason=reason)

    async def kick(self, guild_id: str, user_id: str, reason: str) -> None:
        """Remove a member; they may come back with an invitation."""
        path = f"/guilds/{guild_id}/members/{user_id}"
        await self._ask("DELETE", path, needs="Kick Members", reason=reason)

    async def ban(self, guild_id: str, user_id: str, reason: str) -> None:
        """Keep somebody out."""
        path = f"/guilds/{guild_id}/bans/{user_id}"
        await self._ask("PUT", path, {}, needs="Ban Members", reason=reason)

    async def unban(self, guild_id: str, user_id: str, reason: str) -> None:
        """Let somebody in again."""
        path = f"/guilds/{guild_id}/bans/{user_id}"
        await self._ask("DELETE", path, needs="Ban Members", reason=reason)

    async def role(
        self, guild_id: str, user_id: str, role_id: str, *, give: bool, reason: str
    ) -> None:
        """Give a member a role, or take it."""
        path = f"/guilds/{guild_id}/members/{user_id}/roles/{role_id}"
        await self._ask("PUT" if give else "DELETE", path, needs="Manage Roles", reason=reason)

    async def verification(self, guild_id: str, level: int, reason: str) -> None:
        """Set how well known an account must be before it may write, 0 to 4."""
        body = {"verification_level": level}
        await self._ask("PATCH", f"/guilds/{guild_id}", body, needs="Manage Server", reason=reason)

    async def _ask(
        self, method: str, path: str, body: Any = None, *, needs: str = "", reason: str = ""
    ) -> Any:
        """Ask, and ask again where that may help; a document, a list, or nothing comes back."""
        head = {**self._head, **({"X-Audit-Log-Reason": quote(reason[:400])} if reason else {})}
        for attempt in range(1, _TRIES + 1):
            last = attempt == _TRIES
            try:
                answer = await self._http.request(
                    method, f"{self._base}{path}", json=body, headers=head, timeout=_SECONDS
                )
            except httpx.TransportError as error:
                if last:
                    raise UpstreamUnavailable("Discord does not answer") from error
                wait = _AGAIN
            else:
                waits = _wait_of(answer)
                if waits is None:
                    return _read(answer, needs)
                if last or waits > _PATIENCE:
                    return _read(answer, needs)
                wait = waits
            await asyncio.sleep(wait)
        raise AssertionError("the last try returns or raises")


def _wait_of(answer: httpx.Response) -> float | None:
    """Return how long to wait before asking again; None when that is of no use."""
    if answer.status_code == 429:
        try:
            return float(answer.headers.get("Retry-After", "1"))
        except ValueError:
            return 1.0
    return _AGAIN if answer.status_code >= 500 else None


def _read(answer: httpx.Response, needs: str) -> Any:
    """Return what Discord said, or raise what it refused with."""
    if answer.is_success:
        return answer.json() if answer.content else {}
    said = _said(answer)
    match answer.status_code:
        case 401:
            hint = "Make a new token in the developer portal and set JARVIS_DISCORD_TOKEN."
            raise NotAuthenticated("Discord refuses the bot's token", hint=hint)
        case 403:
            raise _forbidden(said, needs)
        case 404:
            raise NotFound(f"Discord does not know it: {said}")
        case 429:
            raise RateLimited("Discord wants the bot to wait", hint="Try again in a minute.")
        case status if status >= 500:
            raise UpstreamUnavailable(f"Discord answered {status}")
        case _:
            raise UpstreamRejected(f"Discord refused: {said}")


def _forbidden(said: str, needs: str) -> PermissionDenied:
    if not needs:
        return PermissionDenied(f"Discord does not let the bot do this: {said}")
    return PermissionDenied(
        f"The bot lacks the permission {needs} there",
        hint=f"Give its role {needs}, above the roles of those it concerns.",
    )


def _said(answer: httpx.Response) -> str:
    try:
        message = answer.json().get("message", "")
    except (ValueError, AttributeError):
        message = ""
    return str(message)[:200] or f"status {answer.status_code}"
