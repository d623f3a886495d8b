"""Somebody on the fake Discord: says things, gives commands, presses buttons, fills in forms."""

from dataclasses import dataclass, field
from typing import Any

from tests.fakes.discord import payloads
from tests.fakes.discord.payloads import Doc
from tests.fakes.discord.server import FakeDiscord, Seen

_COMMAND, _COMPONENT, _AUTOCOMPLETE, _FORM = 2, 3, 4, 5


@dataclass
class Person:
    """A member of the server with an open direct message to the bot."""

    discord: FakeDiscord
    id: str
    name: str
    roles: list[str] = field(default_factory=list)
    bot: bool = False

    def __post_init__(self) -> None:
        self.discord.channels[self.dm] = payloads.direct(self.dm, self.doc)

    @property
    def doc(self) -> Doc:
        return payloads.user(self.id, self.name, bot=self.bot)

    @property
    def dm(self) -> str:
        return f"7{self.id}"

    async def says(self, text: str, channel_id: str | None = None, **more: Any) -> Seen:
        """Write a message; `unheard` keeps the bot from being told."""
        unheard = more.pop("unheard", False)
        channel_id = channel_id or self.dm
        if (reference := more.pop("replying_to", None)) is not None:
            more |= self._reply(reference)
        seen = self.discord.put(channel_id, self.doc, text, **more)
        if not unheard:
            await self.hears_again(seen)
        return seen

    async def hears_again(self, seen: Seen) -> None:
        """Let Discord tell the bot of a message, perhaps once more."""
        more: Doc = {}
        if "guild_id" in seen.doc and not seen.doc.get("webhook_id"):
            more["member"] = payloads.member(self.roles)
        await self.discord.gateway.dispatch("MESSAGE_CREATE", {**seen.doc, **more})

    async def mentions(self, text: str, channel_id: str = payloads.GENERAL, **more: Any) -> Seen:
        """Write to the bot by its name."""
        jarvis = payloads.user(payloads.BOT, "jarvis", bot=True)
        return await self.says(f"<@{payloads.BOT}> {text}", channel_id, mentions=[jarvis], **more)

    async def slash(
        self, group: str, below: str = "", channel_id: str | None = None, **options: Any
    ) -> Doc:
        """Give a command, with the types that the bot told Discord."""
        data = self._command(group, below, options)
        return await self._interact(_COMMAND, data, channel_id or self.dm)

    async def types(self, group: str, below: str, option: str, text: str) -> list[str]:
        """Begin to type a value and return what is offered."""
        data = self._command(group, below, {option: text}, focused=option)
        made = await self._interact(_AUTOCOMPLETE, data, self.dm)
        answer = await self.discord.until(lambda: self.discord.callbacks.get(made["id"]))
        return [choice["value"] for choice in answer["data"]["choices"]]

    async def presses(self, seen: Seen, what: str) -> Doc:
        """Press the button whose id ends with this, and return the bot's first answer."""
        custom_id = next(each for each in seen.buttons if each.endswith(what))
        return await self.presses_id(seen, custom_id)

    async def presses_id(self, seen: Seen, custom_id: str) -> Doc:
        """Press a button by its id, there or not any more."""
        data = {"custom_id": custom_id, "component_type": 2}
        return await self._answered(_COMPONENT, data, seen)

    async def fills_in(self, form: Doc, comment: str, seen: Seen) -> Doc:
        """Send a form back."""
        row = {"type": 1, "components": [{"type": 4, "custom_id": "comment", "value": comment}]}
        data = {"custom_id": form["data"]["custom_id"], "components": [row]}
        return await self._answered(_FORM, data, seen)

    async def _answered(self, kind: int, data: Doc, seen: Seen) -> Doc:
        made = await self._interact(kind, data, seen.doc["channel_id"], message=seen)
        answer: Doc = await self.discord.until(lambda: self.discord.callbacks.get(made["id"]))
        return answer

    async def _interact(
        self, kind: int, data: Doc, channel_id: str, message: Seen | None = None
    ) -> Doc:
        fake, made_id = self.discord, self.discord.new_id()
        channel = fake.channels[channel_id]
        made: Doc = {
            "id": made_id,
            "application_id": payloads.BOT,
            "type": kind,
            "version": 1,
            "token": f"token-{made_id}@{channel_id}",
            "channel_id": channel_id,
            "channel": {**channel, "permissions": payloads.ALL_PERMISSIONS},
            "locale": "en-US",
            "app_permissions": payloads.ALL_PERMISSIONS,
            "entitlements": [],
            "authorizing_integration_owners": {},
            "context": 1,
            "attachment_size_limit": 10_485_760,
            "data": data,
        }
        if "guild_id" in channel:
            made |= {"guild_id": payloads.GUILD, "guild_locale": "en-US", "context": 0}
            made["member"] = {**payloads.member(self.roles), "user": self.doc}
        else:
            made["user"] = self.doc
        if message is not None:
            made["message"] = message.doc
            fake.replies[made["token"]] = message.doc["id"]
        await fake.gateway.dispatch("INTERACTION_CREATE", made)
        return made

    def _command(self, group: str, below: str, options: Doc, focused: str = "") -> Doc:
        command = next(each for each in self.discord.commands if each["name"] == group)
        known = command.get("options", [])
        if below:
            known = next(each for each in known if each["name"] == below)["options"]
        types = {each["name"]: each["type"] for each in known}
        given = [
            {"name": name, "type": types[name], "value": value}
            | ({"focused": True} if name == focused else {})
            for name, value in options.items()
        ]
        inner = [{"type": 1, "name": below, "options": given}] if below else given
        return {"id": command["id"], "name": group, "type": 1, "options": inner}

    def _reply(self, seen: Seen) -> Doc:
        reference = {"message_id": seen.doc["id"], "channel_id": seen.doc["channel_id"]}
        return {"type": 19, "message_reference": reference, "referenced_message": seen.doc}
