"""Parameters of the tools that set how the bot behaves on a Discord server; None leaves as it is."""

from typing import Annotated, Literal

from pydantic import Field

from tools.discord.community.rules import Domain
from tools.discord.schemas import AnswerIn

Ids = list[Annotated[str, Field(pattern=r"^[0-9]{1,20}$", description="An id of Discord")]]
Domains = list[Domain]
Names = Annotated[list[str], Field(max_length=100, description="Words, as they are written")]

Enabled = Annotated[
    bool | None, Field(description="Whether the bot answers there; left out, as it is")
]
AnswerChannels = Annotated[
    Ids | None,
    Field(max_length=100, description="Ids of the channels it answers in; [] for all"),
]
AnswerRoles = Annotated[
    Ids | None,
    Field(max_length=100, description="Ids of roles, one of which is needed; [] for none"),
]
AnswerHow = Annotated[
    AnswerIn | None, Field(description="Answer a mention in a thread, or as a reply")
]
Welcome = Annotated[
    str | None,
    Field(max_length=1500, description="Greeting with {user} {name} {server}; empty for none"),
]
WelcomeIn = Annotated[
    str | None, Field(max_length=100, description="Channel of the greeting, or dm")
]
AutoRole = Annotated[
    str | None, Field(max_length=100, description="Role of new members; empty for none")
]
AutoRoleAfter = Annotated[
    int | None, Field(ge=0, le=43_200, description="Give the role only after so long")
]
AutoRoleAfterRules = Annotated[
    bool | None, Field(description="Give it once they have agreed to the server's rules")
]
Moderation = Annotated[
    Literal["off", "tell"] | None,
    Field(description="Off, or only tell; discord_enforce_moderation lets it act"),
]
LogChannel = Annotated[
    str | None, Field(max_length=100, description="Where actions are told; empty for nowhere")
]
Count = Annotated[bool | None, Field(description="Count messages, joins and leaves")]
DenyLinks = Annotated[
    Domains | None, Field(max_length=200, description="Domains nobody may link to")
]
AllowOnlyLinks = Annotated[
    Domains | None, Field(max_length=200, description="The only domains to link to; [] for all")
]
ForbidInvites = Annotated[
    bool | None, Field(description="Whether invitations to other servers are an offence")
]
MostMessages = Annotated[
    int | None, Field(ge=0, le=100, description="Most messages within `seconds`; 0 is off")
]
SpamSeconds = Annotated[
    int | None, Field(ge=1, le=120, description="The time in which messages are counted")
]
Repeats = Annotated[
    int | None, Field(ge=0, le=50, description="The same text so often is spam; 0 is off")
]
MostMentions = Annotated[
    int | None, Field(ge=0, le=100, description="Most mentions in one message; 0 is off")
]
RaidJoins = Annotated[
    int | None, Field(ge=0, le=1000, description="So many joins are a raid; 0 is off")
]
RaidSeconds = Annotated[
    int | None, Field(ge=5, le=600, description="The time in which joins are counted")
]
RaidCalm = Annotated[int | None, Field(ge=1, le=1440, description="How long the brake stays on")]
ExemptRoles = Annotated[
    Ids | None, Field(max_length=50, description="Ids of roles that are left alone")
]
ExemptChannels = Annotated[
    Ids | None, Field(max_length=50, description="Ids of channels that are left alone")
]
DecayHours = Annotated[
    int | None, Field(ge=1, le=8760, description="After so long an offence counts no more")
]
