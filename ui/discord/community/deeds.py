"""What follows from what happened: things to do, put on record before they are done."""

import random
from datetime import timedelta
from typing import TYPE_CHECKING

import discord

from tools.discord.community import template
from tools.discord.community.actions import Action, Actions, action_id
from tools.discord.community.counting import Counts
from tools.discord.community.engine import Facts, Offence, step_for
from tools.discord.community.raid import Pulled
from tools.discord.community.roles import role_problem
from tools.discord.community.rules import Command, Community, Moderation
from ui.discord.community.facts import bot_standing, role_of

if TYPE_CHECKING:
    from nebula.app import Parts

_HIGHEST = 3
"""The verification level under the brake: a member of the server for longer than ten minutes."""
_choose = random.SystemRandom().choice


class Deeds:
    """Decides what to do, and returns what is to be carried out now."""

    def __init__(self, parts: "Parts") -> None:
        """Take the database."""
        self._actions = Actions(parts.db)
        self._counts = Counts(parts.db)

    async def punish(
        self, facts: Facts, name: str, offence: Offence, rules: Moderation, *, penalty: bool
    ) -> list[str]:
        """Decide about an offence: what is removed, and what its author gets."""
        tell = rules.mode != "act"
        common = {
            "guild_id": facts.guild_id,
            "target_id": facts.author_id,
            "target_name": name[:100],
            "channel_id": facts.channel_id,
            "rule": offence.rule,
            "reason": offence.reason,
        }
        cause = ("message", facts.guild_id, facts.message_id)
        wanted = []
        if rules.delete:
            detail = {"messages": [list(each) for each in offence.messages], "tell": tell}
            wanted.append(
                Action(id=action_id(*cause, "delete"), kind="delete", detail=detail, **common)
            )
        if penalty:
            before = await self._actions.strikes(
                facts.guild_id, facts.author_id, rules.decay_hours, told=tell
            )
            step = step_for(rules.steps, before)
            said = f"⚠ <@{facts.author_id}> {offence.reason}"
            wanted.append(
                Action(
                    id=action_id(*cause, "penalty"),
                    kind=step.penalty,
                    offence=True,
                    detail={"minutes": step.minutes, "text": said, "tell": tell},
                    **common,
                )
            )
        return await self._decided(wanted)

    async def answer(
        self, facts: Facts, message: discord.Message, command: Command, args: str
    ) -> list[str]:
        """Decide on the answer to a command."""
        assert message.guild is not None
        parts = template.parse(command.text, template.COMMAND)
        own = action_id("command", facts.guild_id, facts.message_id)
        made = Action(
            id=own,
            guild_id=facts.guild_id,
            kind="reply",
            target_id=facts.author_id,
            target_name=message.author.display_name[:100],
            channel_id=facts.channel_id,
            rule=command.name,
        )
        # On record before it is counted: of two bots that hear it, one counts.
        if not await self._actions.decide(made, after=timedelta(seconds=30)):
            return []
        values = {
            "user": f"<@{facts.author_id}>",
            "name": template.plain(message.author.display_name),
            "server": template.plain(message.guild.name),
            "args": template.plain(args),
            "count": str(await self._counts.used(facts.guild_id, command.name)),
        }
        text = template.filled(parts, values, _choose)
        await self._actions.note(own, {"text": text})
        await self._actions.later(own, 0)
        return [own]

    async def greet(self, member: discord.Member, settings: Community) -> list[str]:
        """Decide on the greeting and the role of somebody who has joined."""
        guild, joined = member.guild, str(member.joined_at)
        cause = (str(guild.id), str(member.id), joined)
        common = {
            "guild_id": str(guild.id),
            "target_id": str(member.id),
            "target_name": member.display_name[:100],
        }
        wanted = []
        if settings.welcome.text:
            text = template.filled(
                template.parse(settings.welcome.text, template.WELCOME), _about(member), _choose
            )
            own = action_id("welcome", *cause)
            where = settings.welcome.channel
            wanted.append(
                Action(id=own, kind="welcome", channel_id=where, detail={"text": text}, **common)
            )
        found = await self._decided(wanted)
        return found + await self._role(member, settings, cause, common)

    async def brake(
        self, member: discord.Member, pulled: Pulled, rules: Moderation, rush: str
    ) -> list[str]:
        """Decide what the raid brake does: time-outs, and a higher verification level."""
        guild, tell = member.guild, rules.mode != "act"
        minutes = rules.raid.calm_minutes
        reason = f"{rules.raid.joins} joined within {rules.raid.seconds} seconds."
        common = {"guild_id": str(guild.id), "rule": "raid", "reason": reason}
        wanted = [
            Action(
                id=action_id("raid", str(guild.id), rush, each),
                kind="timeout",
                target_id=each,
                target_name=member.display_name[:100] if each == str(member.id) else "",
                detail={"minutes": minutes, "tell": tell},
                **common,
            )
            for each in pulled.held
        ]
        before = guild.verification_level.value
        if pulled.began and before < _HIGHEST:
            levels = {"level": _HIGHEST, "before": before, "tell": tell}
            own = action_id("raid-level", str(guild.id), rush)
            wanted.append(Action(id=own, kind="verification", detail=levels, **common))
        found = await self._decided(wanted)
        if not tell and before < _HIGHEST and pulled.began:
            calm = Action(
                id=calm_id(str(guild.id), rush), kind="calm", detail={"level": before}, **common
            )
            await self._actions.decide(calm, after=timedelta(minutes=minutes))
        return found

    async def _role(
        self,
        member: discord.Member,
        settings: Community,
        cause: tuple[str, ...],
        common: dict[str, str],
    ) -> list[str]:
        wanted, bot = settings.autorole, bot_standing(member.guild)
        if wanted.role is None:
            return []
        role = member.guild.get_role(int(wanted.role))
        problem = "The role is gone." if role is None else ""
        if role is not None:
            known = bot is not None
            problem = (
                role_problem(role_of(role), bot, str(member.guild.id))
                if bot is not None and known
                else "The bot does not know its own roles yet."
            )
        own = Action(
            id=action_id("role", *cause),
            kind="role",
            rule="autorole",
            reason="New members get it.",
            detail={"role": wanted.role, "after_rules": wanted.after_rules},
            state="failed" if problem else "due",
            problem=problem,
            **common,
        )
        after = timedelta(minutes=wanted.after_minutes)
        due = await self._actions.decide(own, after=after) and not problem
        return [own.id] if due and not wanted.after_minutes else []

    async def _decided(self, wanted: list[Action]) -> list[str]:
        return [each.id for each in wanted if await self._actions.decide(each)]


def calm_id(guild_id: str, rush: str) -> str:
    """Return the id of what ends the brake of a rush."""
    return action_id("raid-calm", guild_id, rush)


def _about(member: discord.Member) -> dict[str, str]:
    return {
        "user": f"<@{member.id}>",
        "name": template.plain(member.display_name),
        "server": template.plain(member.guild.name),
        "members": str(member.guild.member_count or ""),
    }
