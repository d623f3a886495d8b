"""Changes a server's community settings; names are looked up on Discord before they are kept."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from nebula.tool.context import Context
from tools.discord.client import DiscordRest
from tools.discord.community.rules import Community, Mode
from tools.discord.community.store import Communities, Kept
from tools.discord.finding import channel, safe_role


class Wanted(BaseModel):
    """What somebody wants of welcome, roles, moderation and counting; None is left as it is."""

    welcome: str | None = None
    welcome_in: str | None = None
    autorole: str | None = None
    autorole_after_minutes: int | None = None
    autorole_after_rules: bool | None = None
    moderation: Mode | None = None
    log_channel: str | None = None
    count: bool | None = None

    @property
    def any(self) -> bool:
        """Say whether anything is wanted."""
        return any(value is not None for _, value in self)


async def set_community(ctx: Context, guild_id: str, wanted: Wanted) -> Kept:
    """Change what is wanted, all of it or nothing.

    Raises:
        NotFound: when a channel or role does not exist there.
        PermissionDenied: when a role is not for everybody who joins.
    """
    welcome = await _welcome(ctx, guild_id, wanted)
    role = await _role(ctx, guild_id, wanted)
    rules: dict[str, Any] = {}
    if wanted.moderation is not None:
        rules["mode"] = wanted.moderation
    if wanted.log_channel is not None:
        rules["log_channel"] = await _channel(ctx, guild_id, wanted.log_channel)

    def change(old: Community) -> Community:
        values: dict[str, Any] = {
            "welcome": old.welcome.model_copy(update=welcome),
            "autorole": old.autorole.model_copy(update=role),
            "moderation": old.moderation.model_copy(update=rules),
        }
        if wanted.count is not None:
            values["count"] = wanted.count
        return old.model_copy(update=values)

    return await Communities(ctx.parts.db).change(guild_id, ctx.principal, change)


def merged(old: Sequence[str], add: Sequence[str], remove: Sequence[str]) -> tuple[str, ...]:
    """Return a list with some added and some taken away, upper and lower case alike."""
    gone = {each.casefold() for each in remove}
    both = dict.fromkeys((*old, *(each.strip() for each in add)))
    return tuple(each for each in both if each and each.casefold() not in gone)


async def _welcome(ctx: Context, guild_id: str, wanted: Wanted) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if wanted.welcome is not None:
        values["text"] = wanted.welcome
    if wanted.welcome_in is not None:
        direct = wanted.welcome_in.strip().casefold() in {"dm", ""}
        values["channel"] = None if direct else await _channel(ctx, guild_id, wanted.welcome_in)
    return values


async def _role(ctx: Context, guild_id: str, wanted: Wanted) -> dict[str, Any]:
    values: dict[str, Any] = {
        "after_minutes": wanted.autorole_after_minutes,
        "after_rules": wanted.autorole_after_rules,
    }
    values = {name: value for name, value in values.items() if value is not None}
    if wanted.autorole is not None:
        none = not wanted.autorole.strip()
        rest = None if none else DiscordRest(ctx.parts)
        found = None if rest is None else await safe_role(rest, guild_id, wanted.autorole)
        values["role"] = None if found is None else found.id
    return values


async def _channel(ctx: Context, guild_id: str, name: str) -> str | None:
    if not name.strip():
        return None
    return (await channel(DiscordRest(ctx.parts), guild_id, name)).id
