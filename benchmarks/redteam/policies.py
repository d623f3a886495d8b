"""What others do instead of ours, as judges over the same calls."""

from dataclasses import replace

from pydantic import BaseModel

from nebula.auth.principal import Caller
from nebula.policy.ask import Decision, Verdict
from nebula.policy.plan import Plan
from nebula.tool.definition import AnyTool, Effect
from nebula.tool.judge import Judge


class NoPolicy(Judge):
    """Rights are checked, and nothing else: what a framework does out of the box."""

    async def decide(
        self,
        tool: AnyTool,
        values: BaseModel,
        caller: Caller,
        call_id: str = "",
        *,
        granted: bool = False,
    ) -> Decision:
        """Allow whatever the person might do."""
        decision = await super().decide(tool, values, caller, call_id, granted=granted)
        return _unless_blocked(decision, Verdict.ALLOW)


class AskOnEveryWrite(Judge):
    """Every effect is put before a person, and reading is free."""

    async def decide(
        self,
        tool: AnyTool,
        values: BaseModel,
        caller: Caller,
        call_id: str = "",
        *,
        granted: bool = False,
    ) -> Decision:
        """Ask for every effect."""
        decision = await super().decide(tool, values, caller, call_id, granted=granted)
        reads = tool.effect is Effect.READ
        return _unless_blocked(decision, Verdict.ALLOW if reads else Verdict.CONFIRM)


class BlanketTaint(Judge):
    """After the first text from outside every effect is put before a person, planned or not."""

    async def decide(
        self,
        tool: AnyTool,
        values: BaseModel,
        caller: Caller,
        call_id: str = "",
        *,
        granted: bool = False,
    ) -> Decision:
        """Decide as ours does, but without plans and without looking at where values come from."""
        blank = replace(caller, words=(), plan=Plan())
        return await super().decide(tool, values, blank, call_id, granted=granted)


def _unless_blocked(decision: Decision, verdict: Verdict) -> Decision:
    if decision.verdict is Verdict.BLOCK:
        return decision
    return replace(decision, verdict=verdict, rule="peer")
