"""What a server's community bot does: everything that can be set, with its limits."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from tools.discord.community.template import COMMAND, LONGEST, WELCOME, parse

Mode = Literal["off", "tell", "act"]
"""What moderation does about an offence: nothing, only say so, or carry it out."""
Penalty = Literal["warn", "timeout", "kick", "ban"]

MOST_COMMANDS, MOST_WORDS, MOST_DOMAINS = 50, 500, 200
LONGEST_TIMEOUT = 28 * 24 * 60
"""Minutes; Discord times nobody out for longer than 28 days."""

Snowflake = Annotated[str, Field(pattern=r"^[0-9]{1,20}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Welcome(_Part):
    """How a new member is greeted; without a text they are not."""

    text: str = Field("", max_length=LONGEST)
    channel: Snowflake | None = None
    """Where; None for a direct message."""

    @field_validator("text")
    @classmethod
    def _known_places(cls, text: str) -> str:
        parse(text, WELCOME)
        return text


class AutoRole(_Part):
    """The role that new members get."""

    role: Snowflake | None = None
    after_minutes: int = Field(0, ge=0, le=30 * 24 * 60)
    after_rules: bool = False
    """Only once they have agreed to the server's rules."""


class Spam(_Part):
    """How much one member may write; 0 switches a limit off."""

    messages: int = Field(8, ge=0, le=100)
    seconds: int = Field(8, ge=1, le=120)
    repeats: int = Field(4, ge=0, le=50)
    """The same text so often within a minute."""
    mentions: int = Field(6, ge=0, le=100)
    """People and roles named in one message."""


def _domain(text: str) -> str:
    host = text.strip().casefold().removeprefix("https://").removeprefix("http://").strip("/")
    host = host.removeprefix("www.")
    if not re.fullmatch(r"(?:[\w-]+\.)+[\w-]{2,}", host):
        raise ValueError(f"{text!r} is no domain; write one like example.org")
    return host


Domain = Annotated[str, AfterValidator(_domain)]


class Links(_Part):
    """Which links members may post."""

    invites: bool = True
    """Invitations to other servers are an offence."""
    deny: tuple[Domain, ...] = Field((), max_length=MOST_DOMAINS)
    allow_only: tuple[Domain, ...] = Field((), max_length=MOST_DOMAINS)
    """When there are any, links to all others are an offence."""


class Raid(_Part):
    """Many who join at once; with 0 joins nothing is watched."""

    joins: int = Field(0, ge=0, le=1000)
    seconds: int = Field(60, ge=5, le=600)
    calm_minutes: int = Field(10, ge=1, le=24 * 60)
    """How long after the last rush the brake is on."""


class Step(_Part):
    """What somebody gets for an offence."""

    penalty: Penalty
    minutes: int = Field(0, ge=0, le=LONGEST_TIMEOUT)


def step_of(text: str) -> Step:
    """Read a step such as `warn`, `timeout 10` or `ban`; raises ValueError."""
    name, _, minutes = text.strip().casefold().replace(":", " ").partition(" ")
    if name not in {"warn", "timeout", "kick", "ban"}:
        raise ValueError(f"{text!r} is none of warn, timeout MINUTES, kick, ban")
    if name != "timeout":
        if minutes.strip():
            raise ValueError(f"{name} takes no minutes")
        return Step(penalty=name)
    if not minutes.strip().isdigit() or not 1 <= int(minutes) <= LONGEST_TIMEOUT:
        raise ValueError(f"say how many minutes, as in timeout 10 (1 to {LONGEST_TIMEOUT})")
    return Step(penalty="timeout", minutes=int(minutes))


MILD = (
    Step(penalty="warn"),
    Step(penalty="timeout", minutes=10),
    Step(penalty="timeout", minutes=24 * 60),
)


class Moderation(_Part):
    """What is an offence, and what follows from it."""

    mode: Mode = "off"
    spam: Spam = Spam()
    links: Links = Links()
    words: tuple[Annotated[str, Field(min_length=2, max_length=60)], ...] = Field(
        (), max_length=MOST_WORDS
    )
    raid: Raid = Raid()
    delete: bool = True
    """What was written against the rules is removed."""
    steps: tuple[Step, ...] = Field(MILD, min_length=1, max_length=10)
    """What the first offence brings, the second, and so on; the last one for all after it."""
    decay_hours: int = Field(7 * 24, ge=1, le=365 * 24)
    """After so long an offence no longer counts."""
    exempt_roles: tuple[Snowflake, ...] = Field((), max_length=50)
    exempt_channels: tuple[Snowflake, ...] = Field((), max_length=50)
    log_channel: Snowflake | None = None


class Command(_Part):
    """A command of a server's own: `!name` is answered with a text."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")
    text: str = Field(min_length=1, max_length=LONGEST)
    cooldown_seconds: int = Field(5, ge=1, le=24 * 3600)
    roles: tuple[Snowflake, ...] = Field((), max_length=50)
    """Who may use it: people with one of these; everybody when there are none."""

    @field_validator("text")
    @classmethod
    def _known_places(cls, text: str) -> str:
        parse(text, COMMAND)
        return text


class Community(_Part):
    """Everything that is set for one server."""

    welcome: Welcome = Welcome()
    autorole: AutoRole = AutoRole()
    moderation: Moderation = Moderation()
    commands: tuple[Command, ...] = Field((), max_length=MOST_COMMANDS)
    count: bool = False
    """Whether messages, joins and leaves are counted."""

    @property
    def wants_members(self) -> bool:
        """Say whether Discord must tell who joins and leaves: the server members intent."""
        raid = self.moderation.mode != "off" and self.moderation.raid.joins > 0
        greets = bool(self.welcome.text) or self.autorole.role is not None
        return greets or raid or self.count

    def command(self, name: str) -> Command | None:
        """Return a command by its name."""
        return next((each for each in self.commands if each.name == name), None)
