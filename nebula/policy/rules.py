"""The operator's policy: one file that can only make the built-in rules stricter."""

from collections.abc import Iterator
from datetime import datetime, time
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from nebula.auth.principal import Surface
from nebula.policy.answering import FourEyes
from nebula.tool.definition import AnyTool, Effect

Class = Literal["allow", "confirm", "block"]
"""What the operator says of a tool; `allow` leaves it to the built-in rules."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{value!r} is no time zone; write one like Europe/Berlin") from error
    return value


Pattern = Annotated[str, Field(min_length=1, max_length=80, description="A tool, or gpu_*, or *")]


class SurfaceRule(_Part):
    """What a door may be used for; what is left out is not narrowed."""

    features: tuple[str, ...] | None = None
    effects: tuple[Effect, ...] | None = None

    def allows(self, tool: AnyTool) -> bool:
        """Say whether the door may be used for a tool."""
        return (self.features is None or tool.feature in self.features) and (
            self.effects is None or tool.effect in self.effects
        )


class QuietHours(_Part):
    """A time of day in which effects wait or are refused."""

    start: time = Field(alias="from")
    end: time = Field(alias="to")
    zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    tools: tuple[Pattern, ...] = ("*",)
    effects: tuple[Effect, ...] = (Effect.WRITE, Effect.DESTRUCTIVE)
    then: Literal["confirm", "block"] = "confirm"

    def now(self, tool: AnyTool, moment: datetime) -> bool:
        """Say whether they cover a tool at a moment; `from` is inside, `to` is not."""
        if tool.effect not in self.effects or not named(self.tools, tool):
            return False
        clock = moment.astimezone(ZoneInfo(self.zone)).time()
        if self.start <= self.end:
            return self.start <= clock < self.end
        return clock >= self.start or clock < self.end


class Limit(_Part):
    """How often a day one person may use some tools, and for how much money."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
    tools: tuple[Pattern, ...] = Field(min_length=1)
    per_day: int | None = Field(None, ge=0)
    money_per_day: Decimal | None = Field(None, ge=0, description="In the operator's own currency")

    @model_validator(mode="after")
    def _limits_something(self) -> "Limit":
        if self.per_day is None and self.money_per_day is None:
            raise ValueError("say per_day, money_per_day or both")
        return self


class Rules(_Part):
    """Everything the operator has said."""

    version: Literal[1] = 1
    tools: dict[Pattern, Class] = {}
    surfaces: dict[Surface, SurfaceRule] = {}
    quiet_hours: tuple[QuietHours, ...] = ()
    limits: tuple[Limit, ...] = ()
    critical: tuple[Pattern, ...] = Field(
        (), description="Decided in the web chat only, after a fresh sign-in"
    )
    four_eyes: FourEyes = Field(
        FourEyes.AUTO, description="When somebody else must approve what outside text asked for"
    )

    @model_validator(mode="after")
    def _distinct(self) -> "Rules":
        names = [limit.name for limit in self.limits]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two limits are named {sorted(twice)[0]!r}")
        return self

    def of(self, tool: AnyTool) -> Class:
        """Return the strictest class that names a tool."""
        said = {kind for pattern, kind in self.tools.items() if named((pattern,), tool)}
        return "block" if "block" in said else "confirm" if "confirm" in said else "allow"

    def limits_of(self, tool: AnyTool) -> tuple[Limit, ...]:
        """Return the limits that a tool counts towards."""
        return tuple(limit for limit in self.limits if named(limit.tools, tool))

    def patterns(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Yield every pattern with its place in the file, so that each can be checked."""
        for pattern in self.tools:
            yield ("tools", pattern), pattern
        for at, quiet in enumerate(self.quiet_hours):
            yield from ((("quiet_hours", at, "tools"), pattern) for pattern in quiet.tools)
        for at, limit in enumerate(self.limits):
            yield from ((("limits", at, "tools"), pattern) for pattern in limit.tools)
        yield from ((("critical",), pattern) for pattern in self.critical)


def named(patterns: tuple[str, ...], tool: AnyTool) -> bool:
    """Say whether one of the patterns names a tool."""
    return any(fnmatchcase(tool.name, pattern) for pattern in patterns)
