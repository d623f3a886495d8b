"""Who is answered where: the linked person, the server's lists, and how much in a minute."""

import time
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

import discord

from nebula.errors import NotAuthenticated, PermissionDenied, RateLimited
from tools.discord.accounts import Accounts
from tools.discord.servers import Servers
from tools.discord.settings import DiscordSettings

if TYPE_CHECKING:
    from nebula.app import Parts
    from nebula.auth.principal import Principal

_MOST_PEOPLE = 10_000
_HINT_SECONDS = 600.0


class Admission:
    """Lets people in, one message at a time. Nothing is remembered about rights."""

    def __init__(self, parts: "Parts") -> None:
        """Take what knows the people and the servers."""
        settings = parts.settings_of(DiscordSettings)
        self.accounts = Accounts(parts.db, parts.auth, parts.audit)
        self.servers = Servers(parts.db)
        self.limit = Minute(settings.messages_per_minute)
        self.codes = Minute(5)
        self._hinted: OrderedDict[int, float] = OrderedDict()
        self._says_how = settings.unlinked == "hint"

    async def person(self, user: discord.User | discord.Member, channel: object) -> "Principal":
        """Return who an account stands for, when they are answered in this channel.

        Raises:
            NotAuthenticated: when the account is not linked, or its person was locked out.
            PermissionDenied: when the server's settings do not let them, or not there.
        """
        await self.allowed_here(user, channel)
        return await self.accounts.principal(str(user.id))

    async def allowed_here(self, user: discord.User | discord.Member, channel: object) -> None:
        """Raise PermissionDenied when the server's settings do not let somebody, or not here."""
        guild = getattr(channel, "guild", None)
        if guild is None:
            return
        server = await self.servers.of(str(guild.id))
        if server is None:
            return
        if not server.enabled:
            raise PermissionDenied("I am switched off on this server")
        here = {str(getattr(channel, "id", "")), str(getattr(channel, "parent_id", None))}
        if server.channels and here.isdisjoint(server.channels):
            raise PermissionDenied("I do not answer in this channel")
        roles = {str(role.id) for role in getattr(user, "roles", ())}
        if server.roles and roles.isdisjoint(server.roles):
            raise PermissionDenied("You have none of the roles that I answer to on this server")

    def hint(self, user_id: int, error: NotAuthenticated) -> str | None:
        """Return what to tell somebody who is not linked; nothing when they were told lately."""
        now = time.monotonic()
        if not self._says_how or now - self._hinted.get(user_id, -_HINT_SECONDS) < _HINT_SECONDS:
            return None
        self._hinted[user_id] = now
        self._hinted.move_to_end(user_id)
        while len(self._hinted) > _MOST_PEOPLE:
            self._hinted.popitem(last=False)
        return f"{error} {error.hint}".strip()


class Minute:
    """How much each account did in the last minute, in this process."""

    def __init__(self, most: int) -> None:
        """Take how much one may do in a minute."""
        self._most = most
        self._seen: OrderedDict[int, deque[float]] = OrderedDict()
        self._told: set[int] = set()

    def take(self, user_id: int) -> bool:
        """Count one; False when it is too much and they were told so already.

        Raises:
            RateLimited: when the minute is used up, once until there is room again.
        """
        now = time.monotonic()
        seen = self._seen.setdefault(user_id, deque())
        self._seen.move_to_end(user_id)
        while seen and seen[0] < now - 60:
            seen.popleft()
        if len(seen) < self._most:
            seen.append(now)
            self._told.discard(user_id)
            while len(self._seen) > _MOST_PEOPLE:
                self._told.discard(self._seen.popitem(last=False)[0])
            return True
        if user_id in self._told:
            return False
        self._told.add(user_id)
        raise RateLimited(
            f"That was more than {self._most} in a minute", hint="Wait a little, then go on."
        )
