"""What happened on Discord, as the rules of a community see it."""

import time

import discord

from tools.discord.community.engine import Facts
from tools.discord.community.roles import Role, Standing, immunity


def facts_of(message: discord.Message, *, edited: bool = False) -> Facts | None:
    """Return a message's facts; None for what no member of a server wrote."""
    author, guild = message.author, message.guild
    if guild is None or message.webhook_id is not None or not isinstance(author, discord.Member):
        return None
    channel = message.channel
    parent = channel.parent_id if isinstance(channel, discord.Thread) else None
    return Facts(
        guild_id=str(guild.id),
        channel_id=str(channel.id),
        message_id=str(message.id),
        author_id=str(author.id),
        text=_words(message),
        at=time.monotonic(),
        mentions=len(set(message.raw_mentions)) + len(message.raw_role_mentions),
        parent_id=None if parent is None else str(parent),
        roles=frozenset(str(role.id) for role in author.roles),
        immune=immunity(standing(author), bot_standing(guild)),
        edited=edited,
    )


def standing(member: discord.Member) -> Standing:
    """Return where a member stands on their server."""
    return Standing(
        top=member.top_role.position,
        permissions=member.guild_permissions.value,
        owner=member.id == member.guild.owner_id,
        bot=member.bot,
    )


def bot_standing(guild: discord.Guild) -> Standing | None:
    """Return where the bot stands on a server; None when Discord has not said so yet."""
    me = guild.get_member(guild._state.self_id or 0)
    return None if me is None else Standing(me.top_role.position, me.guild_permissions.value)


def role_of(role: discord.Role) -> Role:
    """Return what decides whether a role may be handed out."""
    return Role(
        id=str(role.id),
        name=role.name,
        position=role.position,
        permissions=role.permissions.value,
        managed=role.managed,
    )


def _words(message: discord.Message) -> str:
    """Return everything of a message that can break a rule: also what it forwards."""
    forwarded = [snapshot.content for snapshot in message.message_snapshots]
    return "\n".join([message.content, *forwarded])
