"""An agent profile: who it is and what it may use, as validated data."""

from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from nebula.auth.grant import Grant, of_features
from nebula.tool.definition import AnyTool

PROMPTS = Path(__file__).parent / "prompts"


class Limits(BaseModel):
    """How far an agent goes before it reports back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(5, ge=1, le=50, description="Rounds of tool calls per request")
    calls: int = Field(20, ge=1, le=200, description="Tool calls per request, all rounds together")
    tools: int = Field(8, ge=1, le=16, description="Tools the model sees at once")


class Profile(BaseModel):
    """One agent. Its rights are those of the person it works for, within its features."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{1,39}$")
    purpose: str = Field(
        min_length=1, max_length=160, description="What to ask it for; models read it"
    )
    features: frozenset[str] | None = Field(
        description="Features it may use; None means every feature"
    )
    reads: frozenset[str] = Field(
        frozenset(), description="Features that its tools look into; it is not offered theirs"
    )
    tools: frozenset[str] = Field(
        frozenset(), description="Single tools it is offered beside those of its features"
    )
    prompt: str = Field(pattern=r"^[a-z0-9_]+\.md$", description="Its file in agents/prompts")
    tier: Literal["small", "large"] = "large"
    limits: Limits = Limits()

    @cached_property
    def instructions(self) -> str:
        """Return the text of its prompt file."""
        return (PROMPTS / self.prompt).read_text(encoding="utf-8").strip()

    @cached_property
    def grant(self) -> Grant | None:
        """Return what it may do at most, whoever it works for; None when that is everything."""
        return None if self.features is None else of_features(self.features, self.reads)

    def is_offered(self, tool: AnyTool) -> bool:
        """Say whether a tool is among those it works with."""
        return self.may_use(tool.feature) or tool.name in self.tools

    def may_use(self, feature: str) -> bool:
        """Say whether it may use a feature's tools."""
        return self.features is None or feature in self.features
