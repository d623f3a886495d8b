"""Walks through the steps of a run. What has been done is told again, so it may begin anywhere.

The walk itself keeps nothing: after a pause or a crash it starts from the top, finds each call that
was made in the record, and goes on where nothing was done yet.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from nebula.policy.labels import tainted
from nebula.tool.definition import Effect
from tools.workflows.calling import Calls, Wanted
from tools.workflows.expressions.functions import Failed
from tools.workflows.expressions.syntax import BadExpression, Name, parse, within
from tools.workflows.expressions.templates import filled, found_in
from tools.workflows.expressions.values import truth, value_of
from tools.workflows.outcome import Outcome, Parked, Spent, earliest
from tools.workflows.record import Closing, Opening, Record
from tools.workflows.spec import Spec, Step, needs_of

if TYPE_CHECKING:
    from nebula.app import App

ASK = "workflows_ask"
_SIDE_BY_SIDE = 8
_REHEARSED = "Not done: this is a dry run."


@dataclass(frozen=True)
class Place:
    """What expressions see at one place of the walk."""

    values: Mapping[str, Any]
    steps: Mapping[str, Any] = field(default_factory=dict)
    vouched: frozenset[str] = frozenset({"run"})
    """The roots whose values the owner fixed, or whoever gave the inputs."""

    @property
    def all(self) -> dict[str, Any]:
        """Return every value by its root."""
        return {**self.values, "steps": self.steps}

    def after(self, steps: Mapping[str, Any]) -> "Place":
        """Return the place after some more steps."""
        return replace(self, steps={**self.steps, **steps})

    def within(self, values: Mapping[str, Any], *, vouched: bool) -> "Place":
        """Return the place inside a round of a loop."""
        names = frozenset(values)
        known = self.vouched | names if vouched else self.vouched - names
        return replace(self, values={**self.values, **values}, vouched=known)


class Walk:
    """One walk through a run."""

    def __init__(self, app: "App", spec: Spec, record: Record) -> None:
        """Take the program, what is to be done, and what has been done."""
        self._spec = spec
        self._record = record
        self._calls = Calls(app, record)
        self._registry = app.executor.registry
        self._room = asyncio.Semaphore(_SIDE_BY_SIDE)
        self._until = time.monotonic() + spec.minutes * 60 - record.run.seconds

    def start(self) -> Place:
        """Return the place before the first step."""
        run, trusted = self._record.run, {"run"}
        if not tainted(frozenset(self._record.run.labels)):  # type: ignore[arg-type]
            trusted.add("inputs")
        started = run.started_at or datetime.now(UTC)
        values = {
            "inputs": run.inputs,
            "event": run.event,
            "run": {
                "id": run.id,
                "started_at": started.astimezone(UTC).isoformat(timespec="seconds"),
                "workflow": self._spec.name,
            },
        }
        return Place(values, vouched=frozenset(trusted))

    def more(self, seconds: float) -> None:
        """Give the walk more time, for what is done at the end in any case."""
        self._until = max(self._until, time.monotonic() + seconds)

    async def block(
        self, steps: Sequence[Step], at: str, place: Place, *, side_by_side: bool = False
    ) -> tuple[dict[str, Outcome], Outcome]:
        """Do steps as soon as what they need has ended; return all ends, and that of the block.

        Raises:
            Parked: when nothing more can be done now.
        """
        needs = needs_of(steps, side_by_side=side_by_side)
        ends = _Ends()
        working: dict[asyncio.Task[Outcome], Step] = {}
        left = list(steps)
        try:
            while True:
                for step in ends.ready(left, needs):
                    left.remove(step)
                    here = place.after(_seen(ends.ended))
                    doing = asyncio.create_task(self.step(step, f"{at}{step.id}", here))
                    working[doing] = step
                if not working:
                    break
                done, _ = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    ends.take(working.pop(task), task)
        finally:
            await _cancelled(working)
        return ends.ended, ends.outcome()

    async def step(self, step: Step, path: str, place: Place) -> Outcome:
        """Do a step with its condition and its rounds; a failure is an outcome, not raised."""
        try:
            if step.when is not None and not truth(value_of(parse(step.when), place.all)):
                await self._left_out(step, path)
                return Outcome("skipped", within=_nothing(step))
            outcome = await self._rounds(step, path, place)
        except Failed as error:
            outcome = await self._impossible(step, path, str(error))
        if outcome.ok or not step.clean_up:
            return outcome
        here = place.after({**outcome.within, step.id: outcome.seen()})
        await self.block(step.clean_up, f"{path}/clean_up/", here)
        return outcome

    async def _rounds(self, step: Step, path: str, place: Place) -> Outcome:
        if step.for_each is not None:
            return await self._each(step, path, place)
        if step.repeat is not None:
            return await self._repeated(step, path, place)
        return await self._once(step, path, place)

    async def _each(self, step: Step, path: str, place: Place) -> Outcome:
        """Do a step for each item of a list, some side by side."""
        source = step.for_each
        if isinstance(source, str):
            items, roots = value_of(parse(source), place.all), _roots(source)
        else:
            items, roots = filled(source, place.all), _roots_in(source)
        if items is None:
            items = []
        if not isinstance(items, list):
            raise Failed("for_each goes through a list")
        if len(items) > step.max:
            raise Failed(
                f"the list has {len(items)} items, and at most {step.max} are gone through"
            )
        vouched = roots <= place.vouched
        room = asyncio.Semaphore(step.at_once)
        stopped = asyncio.Event()

        async def one(index: int) -> Outcome | Parked | None:
            async with room:
                if stopped.is_set():
                    return None
                values = {"item": items[index], "index": index}
                here = place.within(values, vouched=vouched)
                try:
                    outcome = await self._once(step, f"{path}[{index}]", here)
                except Parked as waiting:
                    return waiting
                except Failed as error:
                    outcome = await self._impossible(step, f"{path}[{index}]", str(error))
                if not outcome.ok and step.on_failure == "stop":
                    stopped.set()
                return outcome

        ends = await _all(one(index) for index in range(len(items)))
        return _gathered(ends)

    async def _repeated(self, step: Step, path: str, place: Place) -> Outcome:
        """Do a step until its condition holds, at most as often as it may."""
        assert step.repeat is not None
        until = parse(step.repeat.until)
        for number in range(1, step.repeat.max + 1):
            here = place.within({"round": number}, vouched=True)
            outcome = await self._once(step, f"{path}[{number}]", here)
            if not outcome.ok:
                return replace(outcome, rounds=number, within={})
            seen = here.after(outcome.within).all
            if truth(value_of(until, {**seen, "result": outcome.result})):
                return replace(outcome, rounds=number, within={})
            if step.repeat.every is not None and number < step.repeat.max:
                await self._pause(step, f"{path}[{number}]~pause", step.repeat.every)
        said = f"it is not so after {step.repeat.max} times: {step.repeat.until}"
        return Outcome("failed", error=said, rounds=step.repeat.max)

    async def _once(self, step: Step, path: str, place: Place) -> Outcome:
        if step.block is not None:
            beside = step.parallel is not None
            _, outcome = await self.block(step.block, f"{path}/", place, side_by_side=beside)
            return outcome
        if time.monotonic() > self._until:
            raise Spent
        async with self._room:
            return await self._call(step, path, place)

    async def _call(self, step: Step, path: str, place: Place) -> Outcome:
        tool = step.tool or ASK
        template = dict(step.with_) if step.tool is not None else {"question": step.ask}
        row = self._calls.known(path)
        # As they were worked out before anything happened, where it has begun.
        arguments = filled(template, place.all) if row is None else row.arguments
        vouched = frozenset(
            name for name, value in template.items() if _roots_in(value) <= place.vouched
        )
        wanted = Wanted(path, step.id, tool, arguments, vouched, step.retry, step.timeout)
        if row is not None and (row.state == "skipped" or not row.tool):
            return Outcome(row.state, error=str((row.error or {}).get("detail", "")))
        if self._record.run.dry_run and self._registry.get(tool).effect is not Effect.READ:
            return await self._rehearsed(wanted, row)
        if row is None:
            row = await self._calls.begun(wanted)
        return await self._calls.outcome(wanted, row)

    async def _rehearsed(self, wanted: Wanted, row: Any) -> Outcome:
        """Note a call that a run would make."""
        if row is None:
            row = await self._calls.begun(wanted)
            told: dict[str, object] = {"code": "dry_run", "detail": _REHEARSED}
            await self._record.close(row, Closing("skipped", error=told))
        return Outcome("skipped", error=_REHEARSED)

    async def _left_out(self, step: Step, path: str) -> None:
        """Note a step whose condition does not hold."""
        if self._calls.known(path) is None:
            opening = self._own(step, path)
            await self._record.begin(replace(opening, state="skipped"))

    async def _impossible(self, step: Step, path: str, why: str) -> Outcome:
        """Note a step that cannot even begin, because a value is missing or is not as expected."""
        dry = self._record.run.dry_run
        if self._calls.known(path) is None:
            row = await self._record.begin(self._own(step, path))
            told: dict[str, object] = {"code": "invalid_input", "detail": why}
            await self._record.close(row, Closing("skipped" if dry else "failed", error=told))
        # What rests on an effect that a dry run left out cannot be known either.
        return Outcome("skipped" if dry else "failed", error=why, within=_nothing(step))

    async def _pause(self, step: Step, path: str, seconds: float) -> None:
        """Wait between two rounds, however often the walk begins anew."""
        row = self._calls.known(path)
        if row is None:
            at = datetime.now(UTC) + timedelta(seconds=seconds)
            row = await self._record.begin(replace(self._own(step, path), not_before=at))
        if row.state == "done":
            return
        if row.not_before is not None and row.not_before > datetime.now(UTC):
            raise Parked(row.not_before)
        await self._record.close(row, Closing("done"))

    def _own(self, step: Step, path: str) -> Opening:
        before = self._record.tries.get(path)
        number = 1 if before is None else before.try_ + 1
        labels = self._record.read_labels
        return Opening(path, number, step.id, "", f"{self._record.run.id}:{path}", {}, labels)


@dataclass
class _Ends:
    """How the steps of a block have ended so far."""

    ended: dict[str, Outcome] = field(default_factory=dict)
    parked: list[Parked] = field(default_factory=list)
    failed: str = ""

    def ready(self, left: Sequence[Step], needs: Mapping[str, Sequence[str]]) -> list[Step]:
        """Return what can begin: all that it needs has ended, and nothing has stopped the block."""
        if self.failed:
            return []
        return [step for step in left if all(need in self.ended for need in needs[step.id])]

    def take(self, step: Step, task: asyncio.Task[Outcome]) -> None:
        """Take the end of a step, or that it waits."""
        try:
            outcome = self.ended[step.id] = task.result()
        except Parked as waiting:
            self.parked.append(waiting)
            return
        if not outcome.ok and step.on_failure == "stop":
            self.failed = self.failed or f"{step.id}: {outcome.error}"

    def outcome(self) -> Outcome:
        """Return the end of the block; raises Parked while a step of it waits."""
        if self.parked:
            raise earliest(self.parked)
        result = {step_id: outcome.result for step_id, outcome in self.ended.items()}
        state = "failed" if self.failed else "done"
        return Outcome(state, result, self.failed, within=_seen(self.ended))


async def _cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """End tasks that nobody waits for any more."""
    left = [task for task in tasks if not task.done()]
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left)


async def _all(rounds: Any) -> list[Any]:
    tasks = [asyncio.create_task(each) for each in rounds]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        await _cancelled(tasks)


def _gathered(ends: Sequence[Any]) -> Outcome:
    if parked := [each for each in ends if isinstance(each, Parked)]:
        raise earliest(parked)
    found = [each for each in ends if isinstance(each, Outcome)]
    wrong = [each for each in found if not each.ok]
    results = [each.result for each in found]
    if not wrong:
        return Outcome("done", error="", results=results, rounds=len(found))
    said = f"{len(wrong)} of {len(ends)} failed: {wrong[0].error}"
    state = "unknown" if any(each.state == "unknown" for each in wrong) else "failed"
    return Outcome(state, error=said, results=results, rounds=len(found))


def _seen(ended: Mapping[str, Outcome]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for step_id, outcome in ended.items():
        found |= {**outcome.within, step_id: outcome.seen()}
    return found


def _nothing(step: Step) -> dict[str, dict[str, Any]]:
    """Return the steps in a block that was left out, each as left out itself."""
    if step.block is None or step.loops:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for inner in step.block:
        found |= {**_nothing(inner), inner.id: Outcome("skipped").seen()}
    return found


def _roots(text: str) -> frozenset[str]:
    return frozenset(node.name for node in within(parse(text)) if isinstance(node, Name))


def _roots_in(value: Any) -> frozenset[str]:
    """Return what the expressions of a value speak of; none for a value written out."""
    try:
        return frozenset().union(*(_roots(each.text) for each in found_in(value)))
    except BadExpression:
        return frozenset({"unreadable"})
