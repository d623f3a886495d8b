"""Commands of a server's own: `!name` is answered with its text."""

import re
import time
from collections import OrderedDict

from tools.discord.community.engine import Facts
from tools.discord.community.rules import Command, Community

_COMMAND = re.compile(r"^!([A-Za-z0-9][A-Za-z0-9_-]{0,31})(?:\s+(.*))?$", re.DOTALL)
_MOST = 10_000


class Cooldowns:
    """Who used which command lately."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._used: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    def take(self, facts: Facts, command: Command) -> bool:
        """Note a use; False when the same person used it a moment ago."""
        key = (facts.guild_id, facts.author_id, command.name)
        now = time.monotonic()
        if now - self._used.get(key, -float(command.cooldown_seconds)) < command.cooldown_seconds:
            return False
        self._used[key] = now
        self._used.move_to_end(key)
        while len(self._used) > _MOST:
            self._used.popitem(last=False)
        return True


def asked(facts: Facts, settings: Community) -> tuple[Command, str] | None:
    """Return the command that a message gives, with what follows it; None when it gives none."""
    if not settings.commands or facts.edited or (found := _COMMAND.match(facts.text)) is None:
        return None
    command = settings.command(found[1].casefold())
    if command is None:
        return None
    if command.roles and facts.roles.isdisjoint(command.roles):
        return None
    return command, (found[2] or "").strip()
