"""Who may be moderated, and which roles a bot may hand out: rights and role order. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

PERMISSIONS: Mapping[str, int] = {
    "Kick Members": 1 << 1,
    "Ban Members": 1 << 2,
    "Administrator": 1 << 3,
    "Manage Channels": 1 << 4,
    "Manage Server": 1 << 5,
    "View Audit Log": 1 << 7,
    "Send Messages": 1 << 11,
    "Manage Messages": 1 << 13,
    "Mention Everyone": 1 << 17,
    "Manage Nicknames": 1 << 27,
    "Manage Roles": 1 << 28,
    "Manage Webhooks": 1 << 29,
    "Manage Expressions": 1 << 30,
    "Manage Events": 1 << 33,
    "Manage Threads": 1 << 34,
    "Moderate Members": 1 << 40,
    "Send Polls": 1 << 49,
}
"""Names as Discord shows them, and their bits. https://discord.com/developers/docs/topics/permissions"""

DANGEROUS = tuple(name for name in PERMISSIONS if name not in {"Send Messages", "Send Polls"})
"""Not for everybody who comes along."""
_MODERATORS = (
    "Administrator",
    "Manage Server",
    "Manage Messages",
    "Moderate Members",
    "Kick Members",
    "Ban Members",
)


@dataclass(frozen=True)
class Role:
    """A role of a server."""

    id: str
    name: str
    position: int
    permissions: int
    managed: bool = False


@dataclass(frozen=True)
class Standing:
    """Where somebody stands on a server."""

    top: int
    """The position of their highest role."""
    permissions: int = 0
    owner: bool = False
    bot: bool = False


def may(permissions: int, name: str) -> bool:
    """Say whether permissions hold one by its name; administrators hold all."""
    return bool(permissions & (PERMISSIONS[name] | PERMISSIONS["Administrator"]))


def immunity(member: Standing, bot: Standing | None) -> str:
    """Say why a member is left alone, empty when they are not."""
    if member.bot:
        return "It is a bot."
    if member.owner:
        return "They own the server."
    if any(may(member.permissions, name) for name in _MODERATORS):
        return "They are a moderator themselves."
    if bot is None or (member.top >= bot.top and not bot.owner):
        return "Their highest role is not below the bot's."
    return ""


def role_problem(role: Role, bot: Standing, guild_id: str) -> str:
    """Say why the bot cannot or should not hand out a role; empty when it may."""
    if role.id == guild_id:
        return "Everybody has that role already."
    if role.managed:
        return f"{role.name} belongs to a bot or an integration."
    dangerous = [name for name in DANGEROUS if role.permissions & PERMISSIONS[name]]
    if dangerous:
        return f"{role.name} holds {', '.join(dangerous)}: not for everybody who joins."
    if not may(bot.permissions, "Manage Roles"):
        return "The bot lacks the permission Manage Roles."
    if role.position >= bot.top:
        return f"{role.name} is not below the bot's own highest role."
    return ""
