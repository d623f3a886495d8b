"""What the rules see of a message, and that an ordinary one asks nobody anything."""

from dataclasses import replace
from typing import Any

import discord
import pytest
from sqlalchemy import event

from nebula.app import App
from nebula.auth.principal import Principal
from tests.fakes.discord import payloads
from tests.fakes.discord.server import FakeDiscord
from tests.ui.discord.house import PACE
from tools.discord.community.rules import Command, Community, Moderation
from tools.discord.community.store import Communities
from ui.discord.client import intents
from ui.discord.community.bot import CommunityBot
from ui.discord.community.facts import facts_of


class World:
    """A client that has been told of a server, without a connection."""

    def __init__(self) -> None:
        fake = FakeDiscord()
        self.fake = fake
        self.client = discord.Client(
            intents=intents(), member_cache_flags=discord.MemberCacheFlags.none()
        )
        self.state = self.client._connection
        self.state.user = discord.ClientUser(
            state=self.state, data=payloads.user(payloads.BOT, "jarvis", bot=True)
        )
        data: Any = payloads.guild(list(fake.channels.values()), fake.roles)
        self.guild = self.state._add_guild_from_data(data)

    def message(self, text: str, *, roles: Any = (), user_id: str = "7", **more: Any) -> Any:
        author = payloads.user(user_id, "eve")
        seen = self.fake.put(payloads.GENERAL, author, text, **more)
        doc: Any = {**seen.doc, "member": payloads.member(list(roles))}
        channel: Any = self.guild.get_channel(int(payloads.GENERAL))
        return discord.Message(state=self.state, channel=channel, data=doc)


@pytest.fixture
async def world() -> World:
    return World()


@pytest.mark.parametrize(
    ("roles", "user_id", "says"),
    [
        ([], "7", ""),
        ([payloads.CREW], "7", ""),
        ([payloads.HELPERS], "7", "moderator"),
        ([payloads.CHIEFS], "7", "not below"),
        ([], payloads.OWNER, "own the server"),
    ],
)
async def test_whoever_outranks_the_bot_or_moderates_is_immune(
    world: World, roles: list[str], user_id: str, says: str
) -> None:
    facts = facts_of(world.message("hello", roles=roles, user_id=user_id))
    assert facts is not None
    assert says in facts.immune
    assert bool(facts.immune) is bool(says)


async def test_mentions_roles_and_where_it_stands_are_facts(world: World) -> None:
    one, two, role = (f"{n}" * 18 for n in (1, 2, 3))
    text = f"<@{one}> <@!{one}> <@{two}> <@&{role}> hi"
    facts = facts_of(world.message(text, roles=[payloads.CREW]))
    assert facts is not None
    assert (facts.mentions, facts.text, facts.channel_id) == (3, text, payloads.GENERAL)
    assert payloads.CREW in facts.roles


async def test_webhooks_and_direct_messages_have_no_facts(world: World) -> None:
    assert facts_of(world.message("x", webhook_id="5")) is None


async def test_an_ordinary_message_asks_the_database_nothing(
    app: App, admin: Principal, world: World
) -> None:
    rules = Moderation(mode="act", words=("scam",))
    command = Command(name="hi", text="hello")
    await Communities(app.parts.db).change(
        payloads.GUILD,
        admin,
        lambda _: Community(moderation=rules, commands=(command,), count=True),
    )
    from tools.discord.servers import Servers

    await Servers(app.parts.db).joined(payloads.GUILD, "lab")
    bot = CommunityBot(app, replace(PACE, sweep=3600.0))
    await bot._refresh()
    assert payloads.GUILD in bot._kept
    asked: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        asked.append(statement)

    event.listen(app.parts.db.engine.sync_engine, "before_cursor_execute", note)
    for number in range(20):
        await bot.heard(world.message(f"just talking about {number * 7919}", user_id=str(number)))
    assert sum(bot._tally._counts.values()) == 20
    assert asked == []
    await bot.heard(world.message("what a scam", user_id="50"))
    assert asked, "an offence is written down"
