"""What Discord's documents look like on the wire."""

import json
from typing import Any

from aiohttp import web

Doc = dict[str, Any]

ALL_PERMISSIONS = "2248473465835073"
BOT_PERMISSIONS = str((1 << 53) - 1 & ~(1 << 3))
"""All but Administrator."""
ORDINARY_PERMISSIONS = str(1 << 10 | 1 << 11 | 1 << 16)
"""See channels, write, read what was written before."""
GUILD, EVERYONE, GENERAL, QUIET = "200", "200", "300", "301"
CREW, HELPERS, BOT_ROLE, CHIEFS = "400", "401", "500", "600"
OWNER = "999"
BOT = "100"
WHEN = "2026-01-01T00:00:00.000000+00:00"


def user(user_id: str, name: str, *, bot: bool = False) -> Doc:
    return {
        "id": user_id,
        "username": name,
        "discriminator": "0",
        "global_name": name,
        "avatar": None,
        "bot": bot,
        "flags": 0,
        "public_flags": 0,
    }


def member(roles: list[str]) -> Doc:
    return {
        "nick": None,
        "roles": roles,
        "joined_at": WHEN,
        "deaf": False,
        "mute": False,
        "flags": 0,
        "permissions": ALL_PERMISSIONS,
    }


def role(
    role_id: str, name: str, position: int = 0, permissions: str = ORDINARY_PERMISSIONS
) -> Doc:
    return {
        "id": role_id,
        "name": name,
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "position": position,
        "permissions": permissions,
        "managed": False,
        "mentionable": False,
        "flags": 0,
    }


def channel(channel_id: str, name: str) -> Doc:
    return {
        "id": channel_id,
        "type": 0,
        "guild_id": GUILD,
        "name": name,
        "position": 0,
        "permission_overwrites": [],
        "nsfw": False,
        "topic": None,
        "parent_id": None,
        "rate_limit_per_user": 0,
        "last_message_id": None,
    }


def thread(thread_id: str, parent: str, name: str, owner: str) -> Doc:
    return {
        "id": thread_id,
        "type": 11,
        "guild_id": GUILD,
        "parent_id": parent,
        "name": name,
        "owner_id": owner,
        "last_message_id": None,
        "message_count": 0,
        "member_count": 1,
        "rate_limit_per_user": 0,
        "thread_metadata": {
            "archived": False,
            "auto_archive_duration": 1440,
            "archive_timestamp": WHEN,
            "locked": False,
            "create_timestamp": WHEN,
        },
    }


def direct(channel_id: str, recipient: Doc) -> Doc:
    return {"id": channel_id, "type": 1, "recipients": [recipient], "last_message_id": None}


def guild(channels: list[Doc], roles: list[Doc]) -> Doc:
    return {
        "id": GUILD,
        "name": "lab",
        "icon": None,
        "owner_id": OWNER,
        "roles": [role(EVERYONE, "@everyone"), *roles],
        "emojis": [],
        "stickers": [],
        "features": [],
        "channels": channels,
        "members": [{**member([BOT_ROLE]), "user": user(BOT, "jarvis", bot=True)}],
        "member_count": 3,
        "threads": [],
        "voice_states": [],
        "presences": [],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "soundboard_sounds": [],
        "large": False,
        "unavailable": False,
        "afk_timeout": 300,
        "afk_channel_id": None,
        "system_channel_id": None,
        "system_channel_flags": 0,
        "rules_channel_id": None,
        "public_updates_channel_id": None,
        "verification_level": 0,
        "default_message_notifications": 0,
        "explicit_content_filter": 0,
        "mfa_level": 0,
        "nsfw_level": 0,
        "premium_tier": 0,
        "premium_progress_bar_enabled": False,
        "preferred_locale": "en-US",
        "description": None,
        "banner": None,
        "splash": None,
        "discovery_splash": None,
        "vanity_url_code": None,
        "application_id": None,
        "joined_at": WHEN,
        "max_members": 500,
    }


def message(message_id: str, channel_id: str, author: Doc, content: str, **more: Any) -> Doc:
    return {
        "id": message_id,
        "channel_id": channel_id,
        "author": author,
        "content": content,
        "timestamp": WHEN,
        "edited_timestamp": None,
        "tts": False,
        "mention_everyone": False,
        "mentions": [],
        "mention_roles": [],
        "attachments": [],
        "embeds": [],
        "pinned": False,
        "type": 0,
        "flags": 0,
        "components": [],
        **more,
    }


def application(flags: int = 1 << 18 | 1 << 19) -> Doc:
    return {
        "id": BOT,
        "name": "jarvis",
        "flags": flags,
        "description": "",
        "icon": None,
        "bot_public": False,
        "bot_require_code_grant": False,
        "verify_key": "00",
        "summary": "",
        "team": None,
        "owner": user("999", "owner"),
    }


def as_json(
    document: Any, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    # Exactly this type: discord.py reads JSON only without a charset.
    head = {"Content-Type": "application/json", **(headers or {})}
    return web.Response(body=json.dumps(document).encode(), status=status, headers=head)
