"""Gathers the facts of a call and asks the policy; it has no word in the answer."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from pydantic import BaseModel

from nebula.auth.principal import Caller
from nebula.db.bare import Statements
from nebula.db.engine import Database
from nebula.errors import InvalidInput
from nebula.policy.ask import Ask, Decision, Level, Used, Verdict
from nebula.policy.decide import covered, decide, level_of, standing
from nebula.policy.labels import leaks, tainted
from nebula.policy.origins import same
from nebula.policy.rules import Limit, Rules
from nebula.policy.rules_file import RulesFile
from nebula.policy.selectors import Origin
from nebula.policy.settled import origins_of
from nebula.policy.trust import trustable
from nebula.policy.words import said
from nebula.services.directory import ServiceDirectory
from nebula.settings import Settings
from nebula.tool.definition import AnyTool, Effect
from nebula.tool.envelope import shown_arguments
from nebula.tool.grants import Grants
from nebula.tool.pause import Pause
from nebula.tool.registers import Registers
from nebula.tool.registry import Registry
from nebula.tool.usage import used_today
from nebula.tool.vouching.store import Vouching
from nebula.yaml_file import BadFile

if TYPE_CHECKING:
    from nebula.events.bus import Events


class Judge:
    """The policy as the executor, schedules and doors see it."""

    def __init__(
        self,
        db: Database,
        registry: Registry,
        rules: RulesFile,
        pause: Pause,
        *,
        registers: Registers,
        grants: Grants,
    ) -> None:
        """Take the tools, the rules, the kill switch, what names mean, and the standing grants."""
        self.pause = pause
        self.grants = grants
        self.vouching = Vouching(db)
        self._db = db
        self._registry = registry
        self._file = rules
        self._registers = registers

    @property
    def rules(self) -> Rules:
        """Return the operator's rules in force."""
        return self._file.rules

    @property
    def version(self) -> str:
        """Return what changes whenever the policy does."""
        return self._file.version

    @property
    def problems(self) -> Sequence[str]:
        """Say what is wrong with a newer version of the rules, which is not taken."""
        return [str(problem) for problem in self._file.problems]

    def standing(self, tool: AnyTool, caller: Caller) -> Decision:
        """Decide whether a tool is for this caller at all, whatever the arguments and the hour."""
        return standing(Ask(tool, caller), self.rules)

    def level(self, tool: AnyTool) -> Level:
        """Return how much a decision about a tool weighs."""
        return level_of(tool, self.rules)

    async def decide(
        self,
        tool: AnyTool,
        values: BaseModel,
        caller: Caller,
        call_id: str = "",
        *,
        granted: bool = False,
    ) -> Decision:
        """Decide about a call now; the same call again may use what it has used already.

        `granted` lets a standing grant answer in a person's place.
        """
        rules = self.rules
        ask = Ask(tool, caller, shown_arguments(values), now=datetime.now(UTC))
        if tool.effect is Effect.READ and not (tool.egress and leaks(caller.labels)):
            return decide(ask, rules)
        ask = await self._with_origins(ask, call_id)
        if tool.effect is Effect.READ:
            return decide(ask, rules)
        ask = await self._with_facts(ask, values, rules)
        decision = decide(ask, rules)
        if granted and decision.verdict is Verdict.CONFIRM and trustable(tool, decision.level):
            grants = await self.grants.active(caller.principal.id, tool.name)
            return covered(replace(ask, grants=grants), decision)
        return decision

    async def run_on(self, tool: AnyTool, caller: Caller) -> Decision:
        """Decide whether a job may run that was allowed when it was submitted.

        The arguments, the hour and the limits had their say then; rights and the switch have it now.
        """
        decision = self.standing(tool, caller)
        if decision.verdict is Verdict.BLOCK or tool.effect is Effect.READ:
            return decision
        paused = await self.pause.now()
        if paused is None or tool.while_paused:
            return decision
        return decide(Ask(tool, caller, paused=str(paused)), self.rules)

    async def check_limits(
        self, statements: Statements, tool: AnyTool, values: BaseModel, caller: Caller
    ) -> Decision | None:
        """Look at the limits again where a call begins; return the refusal, if there is one.

        Within the transaction that records the call's start, so that calls at once cannot
        exceed a limit together.
        """
        rules = self.rules
        if not (limits := rules.limits_of(tool)):
            return None
        used = await self._used(statements, caller, limits, lock=True)
        ask = Ask(tool, caller, used=used, cost=cost_of(tool, values), now=datetime.now(UTC))
        decision = decide(ask, rules)
        return decision if (decision.verdict, decision.rule) == (Verdict.BLOCK, "limit") else None

    async def _with_origins(self, ask: Ask, call_id: str) -> Ask:
        """Find out where the values come from; what a person typed themselves is their word."""
        tool, caller = ask.tool, ask.caller
        if ask.typed:
            return replace(ask, origins=dict.fromkeys(tool.places, Origin.WORDS))
        names = self._registers.names()
        origins = origins_of(tool, ask.arguments, said(caller.words), caller.plan, names)
        rests: dict[str, str] = {}
        if tainted(caller.labels) and Origin.UNKNOWN in origins.values():
            for each in await self.vouching.endorsed(caller, tool.name, call_id):
                kind, value = tool.places.get(each.selector), ask.arguments.get(each.selector)
                if kind is None or origins[each.selector] is not Origin.UNKNOWN:
                    continue
                if same(kind, each.value, value, names):
                    origins[each.selector] = Origin.ENDORSED
                    rests[each.selector] = each.id
        steps = [step.id for step in caller.plan.of(tool.name)]
        spent = await self.vouching.spent(steps, call_id) if steps else frozenset[str]()
        return replace(
            ask, origins=origins, endorsements=rests, names=names, plan=caller.plan, spent=spent
        )

    async def _with_facts(self, ask: Ask, values: BaseModel, rules: Rules) -> Ask:
        paused = await self.pause.now()
        used, limits = Used(), rules.limits_of(ask.tool)
        if limits:
            async with self._db.bare() as bare:
                used = await self._used(bare, ask.caller, limits)
        return replace(
            ask,
            used=used,
            cost=cost_of(ask.tool, values),
            paused="" if paused is None else str(paused),
        )

    async def _used(
        self, statements: Statements, caller: Caller, limits: Sequence[Limit], *, lock: bool = False
    ) -> Used:
        tools = list(self._registry)
        return await used_today(statements, caller.principal.id, limits, tools, lock=lock)


def cost_of(tool: AnyTool, values: BaseModel) -> Decimal:
    """Return what a call costs, in the operator's currency; most cost nothing."""
    return Decimal(0) if tool.cost is None else tool.cost(values)


def open_judge(
    settings: Settings,
    db: Database,
    events: "Events",
    registry: Registry,
    services: ServiceDirectory,
) -> Judge:
    """Read the operator's rules and return the policy.

    Raises:
        InvalidInput: when the file has a mistake; nothing starts under half a policy.
    """
    tools = {tool.name for tool in registry}
    features = {tool.feature for tool in registry}
    try:
        rules = RulesFile(settings.policy, tools, features)
    except BadFile as bad:
        raise InvalidInput(f"The policy cannot be used: {bad}", hint="Correct the file.") from bad
    registers, grants = Registers(services), Grants(db, events)
    return Judge(db, registry, rules, Pause(db, events), registers=registers, grants=grants)
