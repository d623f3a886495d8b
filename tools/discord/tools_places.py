"""Discord: places that the bot may write to on somebody's behalf."""

from typing import Annotated

from pydantic import Field

from nebula.errors import InvalidInput, PermissionDenied
from nebula.tool.context import Context
from nebula.tool.definition import Effect, tool
from tools.discord import finding
from tools.discord.accounts import Accounts
from tools.discord.client import DiscordRest
from tools.discord.schemas import FoundPlace
from tools.discord.servers import Servers

_MYSELF = {"", "me", "dm"}


@tool(
    effect=Effect.READ,
    outside=True,
    rest="GET /discord/place",
    says=["find [the] discord (channel|place) {place}"],
    examples=[
        "can the bot write to me on Discord?",
        "where on Discord could an agent report for me",
    ],
)
async def discord_find_place(
    ctx: Context,
    place: Annotated[
        str, Field(max_length=150, description="me, #channel, or SERVER/#channel; names or ids")
    ] = "",
) -> FoundPlace:
    """Find where the bot may write for you: to you directly, or into a channel of a server."""
    accounts = Accounts(ctx.parts.db, ctx.parts.auth, ctx.parts.audit)
    if not await accounts.of_user(ctx.principal.id):
        raise InvalidInput("You have no linked Discord account", hint="Link it: /discord_link")
    if place.strip().casefold() in _MYSELF:
        return FoundPlace(place="discord:me", name="a direct message")
    server_name, _, channel = place.rpartition("/")
    server = await Servers(ctx.parts.db).find(server_name)
    if not server.enabled:
        raise PermissionDenied(f"The bot is switched off on {server.name}")
    found = await finding.channel(DiscordRest(ctx.parts), server.guild_id, channel)
    if server.channels and found.id not in server.channels:
        raise PermissionDenied(
            f"The bot may not write there on {server.name}",
            hint="An administrator allows it with /discord_set_settings channels=[…].",
        )
    name = f"#{found.name} of {server.name}"
    return FoundPlace(place=f"discord:{server.guild_id}/{found.id}", name=name)
