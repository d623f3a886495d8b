"""Carries out one decided thing on Discord, tells it in the log channel, and undoes it."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from nebula.errors import (
    Conflict,
    NebulaError,
    NotFound,
    PermissionDenied,
    RateLimited,
    UpstreamUnavailable,
)
from tools.discord.client import DiscordRest
from tools.discord.community.actions import MODERATION, MOST_TRIES, Action, Actions
from tools.discord.community.rules import Community
from tools.discord.community.template import plain

if TYPE_CHECKING:
    from nebula.app import Parts

_PASSING = (RateLimited, UpstreamUnavailable)
_LONGEST_WAIT_FOR_RULES = timedelta(days=30)

UNDONE_BY = {
    "timeout": "untimeout",
    "ban": "unban",
    "role": "unrole",
    "verification": "calm",
}
_PAST = {
    "warn": "warned",
    "delete": "removed what was written by",
    "timeout": "timed out",
    "kick": "kicked",
    "ban": "banned",
    "untimeout": "lets speak again",
    "unban": "lets in again",
    "verification": "raised the verification level because of",
}


class Performing:
    """Does what is on record as due."""

    def __init__(self, parts: "Parts") -> None:
        """Take the database and the way to Discord."""
        self._actions = Actions(parts.db)
        self._rest = DiscordRest(parts)

    async def carry_out(self, action_id: str, settings: Community) -> Action:
        """Do a thing that is due, once, as long as the settings still want it.

        Raises:
            NotFound: when nothing of this id is on record.
            NebulaError: what Discord refused with; it is written down first.
        """
        action = await self._actions.take(action_id)
        if action is None:
            return await self._actions.get(action_id)
        if not _wanted(action, settings):
            return await self._actions.end(action.id, "dropped", "It was switched off meanwhile.")
        try:
            state = await self._do(action)
        except NotFound as error:
            return await self._actions.end(action.id, "dropped", str(error))
        except _PASSING as error:
            # Whoever asked for it is told, and asks again themselves.
            patient = action.tries < MOST_TRIES or bool(action.detail.get("after_rules"))
            if patient and not action.by:
                await self._actions.later(action.id, min(600.0, 5.0 * 2**action.tries), str(error))
            else:
                await self._actions.end(action.id, "failed", str(error))
            raise
        except NebulaError as error:
            await self._actions.end(action.id, "failed", f"{error}. {error.hint}".strip())
            raise
        if state is None:
            return await self._actions.get(action.id)
        ended = await self._actions.end(action.id, state)
        await self._log(ended, settings)
        return ended

    async def undo(self, action_id: str, by: str) -> Action:
        """Take something back.

        Raises:
            Conflict: when it cannot be undone, or is not done.
        """
        action = await self._actions.get(action_id)
        if action.state != "done":
            raise Conflict(f"It is {action.state}, so there is nothing to take back")
        if action.kind not in UNDONE_BY:
            raise Conflict(
                f"Discord cannot take back: {action.kind}",
                hint="A time-out, a ban, a role and a verification level can be undone.",
            )
        await self._take_back(action, f"Undone by {by}")
        return await self._actions.end(action.id, "undone", f"Undone by {by}.")

    async def _take_back(self, action: Action, reason: str) -> None:
        rest, guild, target = self._rest, action.guild_id, action.target_id
        match action.kind:
            case "timeout":
                await rest.time_out(guild, target, None, reason)
            case "ban":
                await rest.unban(guild, target, reason)
            case "role":
                role = str(action.detail["role"])
                await rest.role(guild, target, role, give=False, reason=reason)
            case "verification":
                await rest.verification(guild, int(action.detail["before"]), reason)

    async def _do(self, action: Action) -> Literal["done", "told"] | None:
        """Return how it ended, None when it waits."""
        if action.detail.get("tell"):
            return "told"
        if action.kind == "role" and not await self._ready_for_role(action):
            return None
        await self._act(action)
        return "done"

    async def _act(self, action: Action) -> None:
        match action.kind:
            case "delete":
                await self._delete(action)
            case "warn" | "welcome" | "reply":
                await self._say(action)
            case "verification" | "calm":
                level = int(action.detail["level"])
                await self._rest.verification(action.guild_id, level, action.reason)
            case "post" | "poll":
                raise Conflict("A person posts that, not the bot by itself")
            case _:
                await self._to_member(action)

    async def _to_member(self, action: Action) -> None:
        rest, guild, target = self._rest, action.guild_id, action.target_id
        reason = action.reason or action.rule
        match action.kind:
            case "timeout":
                until = datetime.now(UTC) + timedelta(minutes=int(action.detail["minutes"]))
                await rest.time_out(guild, target, until.isoformat(), reason)
            case "untimeout":
                await rest.time_out(guild, target, None, reason)
            case "kick":
                await rest.kick(guild, target, reason)
            case "ban":
                await rest.ban(guild, target, reason)
            case "unban":
                await rest.unban(guild, target, reason)
            case "role":
                role = str(action.detail["role"])
                await rest.role(guild, target, role, give=True, reason=reason)

    async def _delete(self, action: Action) -> None:
        by_channel: dict[str, list[str]] = {}
        for channel_id, message_id in action.detail["messages"]:
            by_channel.setdefault(channel_id, []).append(message_id)
        for channel_id, ids in by_channel.items():
            await self._rest.delete_messages(channel_id, ids, action.reason)

    async def _say(self, action: Action) -> None:
        mention = action.target_id if action.kind in {"warn", "welcome"} else None
        channel = action.channel_id or await self._rest.direct(action.target_id)
        text = action.detail.get("text")
        if not text:
            raise NotFound("what to say was never written down")
        await self._rest.send(channel, str(text), nonce=action.id, mention=mention)

    async def _ready_for_role(self, action: Action) -> bool:
        """Say whether a member may have their role now; who has yet to agree to the rules waits."""
        if not action.detail.get("after_rules"):
            return True
        member = await self._rest.member(action.guild_id, action.target_id)
        if not member.get("pending"):
            return True
        assert action.at is not None
        age = datetime.now(UTC) - action.at
        if age > _LONGEST_WAIT_FOR_RULES:
            raise NotFound("they never agreed to the rules")
        await self._actions.later(action.id, max(15.0, age.total_seconds() / 10))
        return False

    async def _log(self, action: Action, settings: Community) -> None:
        """Tell the log channel; what is not told there stands in the record all the same."""
        channel = settings.moderation.log_channel
        if channel is None or action.kind not in MODERATION:
            return
        try:
            await self._rest.send(channel, log_line(action), nonce=f"log {action.id}")
        except (PermissionDenied, NotFound, *_PASSING) as error:
            await self._actions.end(action.id, action.state, f"Log channel: {error}")


def log_line(action: Action) -> str:
    """Return what the log channel is told."""
    who = f"**{plain(action.target_name) or action.target_id}** ({action.target_id})"
    minutes = f" for {action.detail['minutes']} minutes" if action.kind == "timeout" else ""
    done = _PAST.get(action.kind, action.kind)
    said = f"would have {done}" if action.state == "told" else done
    by = f" by {plain(action.by)}" if action.by else ""
    return f"🛡 {said} {who}{minutes}{by}: {plain(action.reason)}\n-# `{action.id}`"


def _wanted(action: Action, settings: Community) -> bool:
    """Say whether the settings of now still want what was decided a moment ago."""
    if action.by:
        return True
    match action.kind:
        case "welcome":
            return bool(settings.welcome.text)
        case "role":
            return settings.autorole.role == action.detail.get("role")
        case "reply":
            return settings.command(action.rule) is not None
        case "calm":
            return True
        case _:
            tells = bool(action.detail.get("tell"))
            return settings.moderation.mode == "act" or (
                tells and settings.moderation.mode == "tell"
            )
