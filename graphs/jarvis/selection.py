"""Which tools a request gets: the few that fit it, fixed when its turn starts."""

import re
from collections.abc import Collection, Sequence
from typing import Protocol

from agents.profile import Profile
from nebula.tool.definition import AnyTool, Audience, Effect
from nebula.tool.retrieval import Ranked

_SHARE, _FEWEST = 0.65, 5
"""A tool scoring less than this share of the best is noise, but for the first few.

No right tool is lost by it on the tuning half of `benchmarks/p3.py`, and one in 601 on the other.
"""

_ASKS = re.compile(
    r"^(?:what|which|who|whom|whose|where|when|why|how|is|are|was|were|am|do|does|did|has|have|had)\b",
    re.IGNORECASE,
)
_REQUESTS = re.compile(
    r"^(?:please\b|(?:can|could|would|will|won't|may|might) (?:you|we|i)\b|let's\b|let us\b"
    r"|(?:what|how) about\b|why (?:not|don't you)\b|do (?:it|that|this|the)\b|have (?:it|the)\b)",
    re.IGNORECASE,
)
_SEVERAL = re.compile(
    r"(?:\band then\b|\bthen\b|\bafter(?:wards| that)\b|\bfirst\b|\bfinally\b|;|\n\s*(?:[-*]|\d+[.)])\s)",
    re.IGNORECASE,
)


_JOINED = re.compile(r"\band\b|,", re.IGNORECASE)
_TELLING = 4
"""How many of the best tools tell what a request is about."""


class Ranks(Protocol):
    """What orders tools by how well they fit; the tool index in production."""

    async def rank(
        self, text: str, tools: Collection[str] | None = None, k: int = 8
    ) -> list[Ranked]:
        """Return the best `k` of the named tools, best first."""
        ...


def is_question(text: str) -> bool:
    """Say whether a text only asks; "can you switch …?" is a request."""
    text = text.strip()
    if not text or text.startswith("/") or _REQUESTS.match(text):
        return False
    if has_several_steps(text.partition("?")[2]):
        return False  # it asks, and then wants something done
    return bool(_ASKS.match(text)) or (text.endswith("?") and len(text.split()) > 2)


def has_several_steps(text: str) -> bool:
    """Say whether a text asks for things one after another, so that a plan is worth showing."""
    return bool(_SEVERAL.search(text))


def may_mix(text: str, tools: Sequence[AnyTool]) -> bool:
    """Say whether a request may read what others wrote and change something besides.

    Then its steps are worth fixing in a plan before it reads.
    """
    effects = [tool.effect is not Effect.READ for tool in tools[:_TELLING]]
    reads = any(tool.outside and tool.effect is Effect.READ for tool in tools[:_TELLING])
    return _JOINED.search(text) is not None and reads and any(effects)


async def fitting(
    text: str, tools: Sequence[AnyTool], profile: Profile, index: Ranks, *, read_only: bool
) -> list[str]:
    """Return the names of the tools that fit a text, best first, within what the agent may use."""
    names = [
        tool.name
        for tool in tools
        if profile.is_offered(tool)
        and tool.audience is not Audience.HUMAN
        and (tool.effect is Effect.READ or not read_only)
    ]
    most = profile.limits.tools
    if len(names) <= _FEWEST:
        return names
    ranked = await index.rank(text, names, most)
    if not ranked:
        return []
    enough = ranked[0].score * _SHARE
    return [each.name for at, each in enumerate(ranked) if at < _FEWEST or each.score >= enough]
