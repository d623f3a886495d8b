"""A bot over the lamps on a fake Discord, with people who are linked and people who are not."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any
from uuid import uuid4

import discord
import pytest
from pydantic import Field

from graphs.jarvis.caretaker import Pace as CarePace
from nebula.app import App
from nebula.auth.principal import Caller, Principal, Role, Surface
from nebula.errors import ApprovalRequired, UpstreamRejected
from nebula.settings import Settings
from nebula.tool.context import Context
from nebula.tool.definition import AnyTool, Effect, EffectKind, tool
from nebula.tool.registry import Registry
from nebula.tool.result import Block, Image, Plot, Result, Table
from tests.fakes.discord.people import Person
from tests.fakes.discord.server import TOKEN, FakeDiscord, Seen, fake_discord
from tests.graphs.lab import DONE, GATE, Lab, Lamp, Name, lab, script
from tools.discord.accounts import Accounts
from tools.discord.settings import DiscordSettings
from tools.jobs.tools import jobs_cancel
from ui.discord.drawing import Pace
from ui.discord.run import beside

PACE = Pace(
    edit=0.1,
    look=0.1,
    job=0.1,
    sweep=0.2,
    ready=0.1,
    identify=0.05,
    heartbeat=1.0,
    retry=0.05,
    act=0.0,
)


@tool(
    effect=Effect.DESTRUCTIVE,
    critical=True,
    selectors=["name"],
    says=["melt [the] lamp {name}"],
    examples=["melt it down"],
)
async def lamps_melt(ctx: Context, name: Name) -> Lamp:
    """Melt a lamp, which weighs more than anything else."""
    DONE.append(f"melt {name}")
    return Lamp(name=name)


class Shade(StrEnum):
    WARM = "warm"
    COLD = "cold"


class Shades(Result):
    def render(self) -> Sequence[Block]:
        rows = [[str(n), "value " * 9, "=1+1"] for n in range(30)]
        figure = {"data": [{"type": "scatter", "x": [1, 2], "y": [0.5, 0.25], "name": "heat"}]}
        picture = "data:image/png;base64,aGFsbG8="
        return [
            Table(title="All shades", columns=["N", "A long one", "Formula"], rows=rows),
            Plot(title="Heat", figure=figure),
            Image(url=picture, alt="a lamp"),
        ]


@tool(effect=Effect.READ, examples=["show the shades", "colours of the lamps"])
async def lamps_tint(
    ctx: Context,
    shade: Annotated[Shade, Field(description="How it looks")],
    level: Annotated[int, Field(ge=0, le=100, description="How bright, in percent")] = 50,
    service: Annotated[str, Field(description="Which service asks")] = "",
    blink: Annotated[bool, Field(description="Whether it blinks")] = False,
    factor: Annotated[float, Field(description="Times what it was")] = 1.0,
    names: Annotated[list[str], Field(description="Which lamps")] = [],  # noqa: B006
) -> Shades:
    """Show every shade that a lamp can have, with more words than a description on Discord may have at all."""
    DONE.append(f"tint {shade} {level} {service} {blink} {factor} {names}")
    return Shades()


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    background=True,
    timeout=60,
    selectors=["name"],
    examples=["polish the lamp", "make it shine"],
)
async def lamps_polish(ctx: Context, name: Name) -> Shades:
    """Polish a lamp for as long as the gate is shut."""
    await ctx.progress(0.25, f"rubbing {name}", step=1, steps=4)
    await GATE.event.wait()
    if name == "cracked":
        raise UpstreamRejected("The lamp broke", hint="Take another.")
    DONE.append(f"polish {name}")
    return Shades()


DISCORD = [tool for tool in Registry.discover("tools") if tool.feature == "discord"]
MORE = [lamps_melt, lamps_tint, lamps_polish, jobs_cancel]


@dataclass
class House:
    """Everything a test looks at."""

    discord: FakeDiscord
    lab: Lab
    people: dict[str, Person] = field(default_factory=dict)
    principals: dict[str, Principal] = field(default_factory=dict)
    _number: int = 1000
    _running: Any = None

    @property
    def app(self) -> App:
        return self.lab.app

    def says(self, *answers: Any) -> None:
        """Let the model answer so, one after another."""
        self.lab.model.policy = script(*answers)

    def stranger(self, name: str = "", *, roles: Any = (), bot: bool = False) -> Person:
        """Let somebody in whose account is not linked."""
        self._number += 1
        name = name or f"person{self._number}"
        return Person(self.discord, str(self._number), name, list(roles), bot)

    async def person(self, role: Role = Role.ADMIN, *, roles: Any = ()) -> Person:
        """Let somebody in whose account is linked to a user of this role."""
        who = self.stranger(roles=roles)
        principal = await self.app.parts.auth.create_user(who.name, role)
        accounts = self.accounts
        code, _ = await accounts.new_code(principal.id)
        await accounts.link(code, who.id, who.name)
        self.principals[who.id] = principal
        return who

    @property
    def accounts(self) -> Accounts:
        parts = self.app.parts
        return Accounts(parts.db, parts.auth, parts.audit)

    async def use(self, who: Person, name: str, /, **arguments: Any) -> Any:
        """Let somebody use a tool in the web chat."""
        return await self._used(who, name, arguments, uuid4().hex)

    async def approved(self, who: Person, name: str, /, **arguments: Any) -> Any:
        """Let somebody use a tool that asks first, and approve it."""
        call_id = uuid4().hex
        with pytest.raises(ApprovalRequired) as asked:
            await self._used(who, name, arguments, call_id)
        await self.app.parts.approvals.decide(
            asked.value.approval_id,
            decision="approve",
            by=self.principals[who.id],
            surface=Surface.CHAT,
        )
        return await self._used(who, name, arguments, call_id)

    async def _used(self, who: Person, name: str, arguments: Any, call_id: str) -> Any:
        caller = Caller(self.principals[who.id], Surface.CHAT)
        return await self.app.executor.execute(name, arguments, caller=caller, call_id=call_id)

    async def answer(self, channel_id: str, text: str, *, seconds: float = 10.0) -> Seen:
        """Wait until the bot has written something with this text in a channel."""

        def found() -> Seen | None:
            said = self.discord.by_bot(channel_id)
            return next((seen for seen in reversed(said) if text in seen.text), None)

        try:
            result: Seen = await self.discord.until(found, seconds)
        except TimeoutError:
            said = [seen.text for seen in self.discord.by_bot(channel_id)]
            raise AssertionError(f"{text!r} is not in {said}") from None
        return result

    async def start(self) -> None:
        """Start the bot and wait until Discord has greeted it."""
        self._running = beside(self.lab.app, self.lab.jarvis, PACE)
        await self._running.__aenter__()
        await asyncio.wait_for(self.discord.gateway.connected.wait(), 10)

    async def stop(self) -> None:
        """Stop the bot."""
        running, self._running = self._running, None
        if running is not None:
            await running.__aexit__(None, None, None)
            self.discord.gateway.connected.clear()

    async def restart(self) -> None:
        """Stop the bot and start another over the same program."""
        await self.stop()
        await self.start()


def configured(app: App, **values: Any) -> None:
    """Give the program a bot's token and whatever else is set."""
    values = {"token": TOKEN, "messages_per_minute": 600, "api": discord.http.Route.BASE, **values}
    app.parts._feature_settings[DiscordSettings] = DiscordSettings(_env_file=None, **values)


@asynccontextmanager
async def house(settings: Settings, more: Sequence[AnyTool] = ()) -> AsyncIterator[House]:
    """Open the house with the bot running, over more tools if any."""
    pace = CarePace(beat=0.2, approvals=0.2, idle=60)
    async with (
        fake_discord() as fake,
        lab(settings, script(), pace=pace, stale_seconds=1.0, more=[*MORE, *more]) as opened,
    ):
        configured(opened.app)
        made = House(fake, opened)
        await made.start()
        try:
            yield made
        finally:
            await made.stop()
