"""When confirmed runs have earned the offer of a standing grant; pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from nebula.policy.ask import Level
from nebula.policy.decide import ASKS_AGAIN
from nebula.tool.definition import AnyTool, Effect, secrets_of

CONFIRMED_RUNS = 5


@dataclass(frozen=True)
class Run:
    """One question about a tool with one set of selector values, and what came of it."""

    approved: bool
    """A person said yes; otherwise they said no, or asked for changes."""
    succeeded: bool
    tainted: bool
    rule: str
    level: Level


def trustable(tool: AnyTool, level: Level) -> bool:
    """Say whether a tool may ever run on a standing grant.

    Never what cannot be undone or weighs most. A job ends long after its call, and a secret
    cannot be compared with the one that was confirmed: for those a person is asked every time.
    """
    return (
        tool.effect is Effect.WRITE
        and level is Level.NORMAL
        and not tool.background
        and not secrets_of(tool)
    )


def earned(runs: Sequence[Run]) -> bool:
    """Say whether runs, the newest first, hold five clean ones in a row.

    One bad end, or one no, breaks the row. What was asked because of outside text counts for
    nothing, however it ended well.
    """
    clean = 0
    for run in runs:
        if not run.approved or not run.succeeded:
            return False
        if run.tainted or run.rule not in ASKS_AGAIN or run.level is not Level.NORMAL:
            continue
        clean += 1
        if clean == CONFIRMED_RUNS:
            return True
    return False
