"""A background tool for the browser tests: it paints in steps, and shows what it made."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from nebula.errors import UpstreamUnavailable
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from nebula.tool.result import Block, Markdown, Plot, Result, Table

STEPS = 8
_STEP_SECONDS = 0.4


class Painting(Result):
    """What was painted."""

    subject: str

    def render(self) -> Sequence[Block]:
        """Show a sentence, a table and a plot."""
        bars = {"type": "bar", "x": ["red", "blue"], "y": [3, 5]}
        return [
            Markdown(text="The painting is **done**."),
            Table(
                title="Colours", columns=["Colour", "Strokes"], rows=[["red", "3"], ["blue", "5"]]
            ),
            Plot(title="Strokes", figure={"data": [bars], "layout": {}}),
        ]


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    background=True,
    selectors=["subject"],
    says=["paint [me] (a|an|the) {subject}"],
    examples=["paint a lighthouse"],
    timeout=600,
)
async def sample_paint(
    ctx: Context,
    subject: Annotated[str, Field(description="What to paint; 'storm' fails, 'sea' never ends")],
) -> Painting:
    """Paint something, stroke by stroke."""
    for step in range(1, STEPS + 1):
        await ctx.progress(None, f"painting layer {step}", step=step, steps=STEPS)
        await ctx.job_log(f"layer {step} of {subject}: " + "~" * 40)
        await asyncio.sleep(_STEP_SECONDS)
        if subject == "storm" and step == 2:
            raise UpstreamUnavailable("The easel fell over.", hint="Put it up again, then retry.")
        if subject == "sea" and step == 3:
            await asyncio.Event().wait()
    return Painting(subject=subject)


ALL = [sample_paint]
