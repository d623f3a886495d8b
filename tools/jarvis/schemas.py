"""What the jarvis tools return."""

from collections.abc import Sequence

from pydantic import BaseModel, Field

from nebula.llm.status import ProviderStatus, TierStatus
from nebula.llm.usage import UsageTotal
from nebula.policy.labels import Label
from nebula.tool.render import escape
from nebula.tool.result import Block, Markdown, Result, Table

_NO_MODEL = (
    "No language model is connected, so plain commands are understood and nothing else. "
    "Start Ollama, or set OPENAI_API_KEY, to talk freely."
)


class JarvisStatus(Result):
    """Who thinks, where models run, and what they cost lately."""

    tiers: list[TierStatus]
    providers: list[ProviderStatus]
    usage_hours: int
    usage: list[UsageTotal] = Field(default_factory=list)

    def origin(self) -> Label:
        """Call what providers say of themselves outside text: names of models, and errors."""
        told = any(provider.models or provider.error for provider in self.providers)
        return Label.OUTSIDE if told else Label.SYSTEM

    def render(self) -> Sequence[Block]:
        """Say first who thinks now."""
        active = {tier.tier: tier.active for tier in self.tiers}
        alone = active.get("large") in ("", "command")
        blocks: list[Block] = [
            Markdown(text=_NO_MODEL if alone else f"**{escape(active['large'])}** thinks.")
        ]
        blocks.append(
            Table(
                title="Models",
                columns=["Tier", "Now", "Chosen", "In order"],
                rows=[
                    [t.tier, t.active or "none", t.choice, ", ".join(t.order)] for t in self.tiers
                ],
            )
        )
        blocks.append(
            Table(
                title="Providers",
                columns=["Provider", "State", "Address", "Models", "Problem"],
                rows=[_row(provider) for provider in self.providers],
            )
        )
        if self.usage:
            blocks.append(_usage(self.usage, self.usage_hours))
        return blocks


class SwitchedTier(BaseModel):
    """What thinks in a tier from now on."""

    tier: str
    choice: str
    active: str


class JarvisSwitch(Result):
    """Which model thinks from now on."""

    tiers: list[SwitchedTier]

    def render(self) -> Sequence[Block]:
        """Say it in a sentence per tier."""
        return [Markdown(text="\n\n".join(_said(tier) for tier in self.tiers))]


def _said(tier: SwitchedTier) -> str:
    active = escape(tier.active or "nothing")
    if tier.choice in ("auto", "command") or tier.choice == tier.active:
        return f"For **{tier.tier}** requests, **{active}** thinks now."
    return (
        f"For **{tier.tier}** requests, **{escape(tier.choice)}** is chosen; "
        f"it does not answer at the moment, so **{active}** thinks until it does."
    )


def _row(provider: ProviderStatus) -> list[str]:
    shown = ", ".join(provider.models[:8]) + (" …" if len(provider.models) > 8 else "")
    return [provider.name, provider.state, provider.address, shown, provider.error]


def _usage(totals: list[UsageTotal], hours: int) -> Table:
    return Table(
        title=f"Model calls of the last {hours} hours",
        columns=["Model", "Calls", "Failed", "Tokens in", "Tokens out", "Mean seconds"],
        rows=[
            [
                f"{t.provider}:{t.model}",
                f"{t.calls:,}",
                f"{t.failures:,}",
                f"{t.input_tokens:,}",
                f"{t.output_tokens:,}",
                f"{t.mean_seconds:.2f}",
            ]
            for t in totals
        ],
    )
