"""What the agents tools take, described once."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from tools.agents.spec import LONGEST_PURPOSE

AgentName = Annotated[
    str, Field(min_length=1, max_length=60, description="The agent's name, or its id agt_…")
]
Purpose = Annotated[
    str | None,
    Field(
        max_length=LONGEST_PURPOSE,
        description="What it shall do in each run, in the owner's words: all it is told",
    ),
]
Features = Annotated[
    list[str] | None, Field(max_length=20, description="Features whose tools it may use, e.g. gpu")
]
Tools = Annotated[
    list[str] | None, Field(max_length=16, description="Single tools it may use, by name")
]
Tier = Annotated[Literal["small", "large"] | None, Field(description="Which model thinks for it")]
OnEvent = Annotated[
    str | None,
    Field(
        max_length=60,
        description="Event that starts it: job.changed, services.health_changed, webhook.received",
    ),
]
Where = Annotated[
    dict[str, str],
    Field(max_length=5, description="Fields of the event and their value: {state: failed}"),
]
ReportTo = Annotated[
    str | None,
    Field(
        max_length=150,
        description="A notification channel, discord, or discord:server/#channel; else its session",
    ),
]
ReportWhen = Annotated[
    Literal["always", "news", "problems"] | None,
    Field(description="Report every run, only news, or only failures"),
]
Overlap = Annotated[
    Literal["skip", "queue"] | None,
    Field(description="What a run does while an earlier one goes on"),
]
LimitValues = Annotated[
    dict[str, Decimal],
    Field(
        max_length=6,
        description="steps, minutes, tokens (of a run); runs_per_day, money_per_day; failures",
    ),
]
