"""What an agent is: the fields that a person gives, and the events it may wait for."""

from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from nebula.errors import InvalidInput
from nebula.events.triggers import WEBHOOK, Trigger

NAME = r"^[a-z][a-z0-9-]{1,39}$"
LONGEST_PURPOSE = 2_000
"""Characters; longer text would vouch for nothing that it names."""

READS_WEBHOOKS = "webhooks_read"
"""What an agent that a webhook starts reads the delivery with."""


class Limits(BaseModel):
    """How far one run goes, how much a day may cost, and when the agent is switched off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(12, ge=1, le=50, description="Rounds of tool calls in one run")
    minutes: float = Field(
        15.0, gt=0, le=240, description="Minutes of one run, without waiting for a person"
    )
    tokens: int = Field(100_000, ge=500, le=10_000_000, description="Tokens of one run")
    runs_per_day: int = Field(50, ge=1, le=1_000, description="Runs in 24 hours")
    money_per_day: Decimal | None = Field(
        None, ge=0, description="What its calls may cost in 24 hours, in the operator's currency"
    )
    failures: int = Field(5, ge=1, le=50, description="Failed runs in a row that switch it off")


class Spec(BaseModel):
    """An agent as a person describes it; ready-made agents are files of these."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME)
    purpose: str = Field(min_length=10, max_length=LONGEST_PURPOSE)
    features: list[str] = Field(default_factory=list, max_length=20)
    tools: list[str] = Field(default_factory=list, max_length=16)
    tier: Literal["small", "large"] = "large"
    limits: Limits = Limits()
    overlap: Literal["skip", "queue"] = "skip"
    cron: str | None = None
    timezone: str = "UTC"
    trigger: Trigger | None = None
    report_to: str | None = None
    report_when: Literal["always", "news", "problems"] = "always"


def at_field(field: str, said: str, hint: str = "") -> InvalidInput:
    """Return the error of one field, which a form shows beside it."""
    return InvalidInput(said, hint=hint, fields=[{"field": field, "problem": said}])


def with_reader(spec: Spec) -> Spec:
    """Return an agent that can read what started it: of a delivery it is told the id alone."""
    if spec.trigger is None or spec.trigger.event != WEBHOOK:
        return spec
    if "webhooks" in spec.features or READS_WEBHOOKS in spec.tools:
        return spec
    return spec.model_copy(update={"tools": [*spec.tools, READS_WEBHOOKS]})
