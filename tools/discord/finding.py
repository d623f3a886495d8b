"""What is meant by a name on a server: a channel, a role, a member; and where they stand."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel

from nebula.errors import InvalidInput, NotFound, PermissionDenied
from tools.discord.client import DiscordRest, Doc
from tools.discord.community.roles import Role, Standing, immunity, role_problem

_WRITABLE = {0, 5, 10, 11, 12, 15}
"""Kinds of channels that take messages: text, news, threads, forum posts."""


class Place(BaseModel):
    """A channel."""

    id: str
    name: str


class Member(BaseModel):
    """Somebody on a server, or no longer there."""

    id: str
    name: str
    here: bool = True


async def channel(rest: DiscordRest, guild_id: str, name: str) -> Place:
    """Return the channel of a server that is meant by id, name or mention.

    Raises:
        NotFound: when the server has none like that, with the nearest names.
    """
    known = [each for each in await rest.channels(guild_id) if each.get("type") in _WRITABLE]
    wanted = name.strip().strip("<#>").casefold()
    for each in known:
        if wanted in {str(each["id"]), str(each["name"]).casefold()}:
            return Place(id=str(each["id"]), name=str(each["name"]))
    raise NotFound(f"The server has no channel {name!r}", hint=_near(wanted, known))


async def safe_role(rest: DiscordRest, guild_id: str, name: str) -> Role:
    """Return a role that the bot may give to everybody who joins.

    Raises:
        NotFound: when there is none of that id or name.
        PermissionDenied: when it is not for everybody, or not below the bot's own.
    """
    guild = await rest.guild(guild_id)
    wanted = name.strip().strip("<@&>").casefold()
    roles = [_role(each) for each in guild["roles"]]
    found = next((each for each in roles if wanted in {each.id, each.name.casefold()}), None)
    if found is None:
        raise NotFound(f"The server has no role {name!r}", hint=_near(wanted, guild["roles"]))
    if why := role_problem(found, await bot_standing(rest, guild), guild_id):
        raise PermissionDenied(why, hint="Choose a role without rights, below the bot's own.")
    return found


async def member(rest: DiscordRest, guild_id: str, name: str) -> Member:
    """Return the member that is meant by id or exact name.

    Raises:
        NotFound: when nobody is called so.
        InvalidInput: when several are.
    """
    wanted = name.strip().strip("<@!>")
    if wanted.isdigit():
        try:
            return _member(await rest.member(guild_id, wanted))
        except NotFound:
            return Member(id=wanted, name=wanted, here=False)
    asked = wanted.removeprefix("@").casefold()
    found = [each for each in await rest.search(guild_id, asked) if asked in _names(each)]
    if len(found) == 1:
        return _member(found[0])
    if found:
        listed = ", ".join(f"{_member(each).name} ({each['user']['id']})" for each in found)
        raise InvalidInput("Several members are called so", hint=f"Give the id: {listed}.")
    raise NotFound(f"The server has no member {name!r}", hint="Give their id, or the exact name.")


async def refuse_protected(rest: DiscordRest, guild_id: str, who: Member) -> None:
    """Raise PermissionDenied when somebody is not to be moderated: owner, moderators, bots."""
    if not who.here:
        return
    guild = await rest.guild(guild_id)
    doc = await rest.member(guild_id, who.id)
    why = immunity(_standing(guild, doc), await bot_standing(rest, guild))
    if why:
        raise PermissionDenied(f"{who.name} cannot be moderated: {why}")


async def bot_standing(rest: DiscordRest, guild: Doc) -> Standing:
    """Return where the bot itself stands on a server."""
    me = await rest.me()
    return _standing(guild, await rest.member(str(guild["id"]), str(me["id"])))


def _standing(guild: Doc, doc: Doc) -> Standing:
    mine = {*map(str, doc["roles"]), str(guild["id"])}
    roles = [_role(each) for each in guild["roles"] if str(each["id"]) in mine]
    permissions = 0
    for role in roles:
        permissions |= role.permissions
    return Standing(
        top=max((role.position for role in roles), default=0),
        permissions=permissions,
        owner=str(guild["owner_id"]) == str(doc["user"]["id"]),
        bot=bool(doc["user"].get("bot")),
    )


def _role(doc: Doc) -> Role:
    return Role(
        id=str(doc["id"]),
        name=str(doc["name"]),
        position=int(doc["position"]),
        permissions=int(doc["permissions"]),
        managed=bool(doc.get("managed")),
    )


def _member(doc: Doc) -> Member:
    user = doc["user"]
    shown = doc.get("nick") or user.get("global_name") or user["username"]
    return Member(id=str(user["id"]), name=str(shown))


def _names(doc: Doc) -> set[str]:
    user = doc["user"]
    names = (doc.get("nick"), user.get("global_name"), user["username"])
    return {str(each).casefold() for each in names if each}


def _near(wanted: str, known: Sequence[Any]) -> str:
    names = [str(each["name"]) for each in known]
    close = get_close_matches(wanted, names, n=3, cutoff=0.4) or names[:10]
    return f"There are: {', '.join(close)}." if close else ""
