"""Walks through the steps of a run. What has been done is told again, so it may begin anywhere.

The walk itself keeps nothing: after a pause or a crash it starts from the top, finds each call that
was made in the record, and goes on where nothing was done yet.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from nebula.policy.labels import tainted
from nebula.tool.definition import Effect
from tools.workflows.calling import Calls, Wanted
from tools.workflows.ends import Ends, gathered, nothing, seen
from tools.workflows.expressions.functions import Failed
from tools.workflows.expressions.syntax import parse
from tools.workflows.expressions.templates import filled
from tools.workflows.expressions.values import truth, value_of
from tools.workflows.outcome import NOT_BEGUN, Outcome, Parked, Spent, told
from tools.workflows.place import Place, roots, roots_in
from tools.workflows.record import Closing, Opening, Record
from tools.workflows.spec import FINALLY, Spec, Step, needs_of

if TYPE_CHECKING:
    from nebula.app import App

ASK = "workflows_ask"
_SIDE_BY_SIDE = 8
_REHEARSED = "Not done: this is a dry run."


class Walk:
    """One walk through a run."""

    def __init__(self, app: "App", spec: Spec, record: Record, *, over: bool = False) -> None:
        """Take the program, what is to be done, and what has been done.

        When it is `over`, nothing is done any more: what has been is told again.
        """
        self._over = over
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

    async def give_up(self) -> None:
        """Write of each step that is under way, and not one of the last, that it was cancelled."""
        for path, row in list(self._record.tries.items()):
            if row.state in {"running", "waiting"} and not path.startswith(FINALLY):
                await self._calls.give_up(row)

    async def block(
        self, steps: Sequence[Step], at: str, place: Place, *, side_by_side: bool = False
    ) -> tuple[dict[str, Outcome], Outcome]:
        """Do steps as soon as what they need has ended; return all ends, and that of the block.

        Raises:
            Parked: when nothing more can be done now.
        """
        needs = needs_of(steps, side_by_side=side_by_side)
        ends = Ends()
        working: dict[asyncio.Task[Outcome], Step] = {}
        left = list(steps)
        try:
            while True:
                for step in ends.ready(left, needs):
                    left.remove(step)
                    here = place.after(seen(ends.ended))
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
        if self._over and not self._record.has_begun(path):
            return replace(NOT_BEGUN, within=nothing(step, NOT_BEGUN))
        try:
            if step.when is not None and not truth(value_of(parse(step.when), place.all)):
                await self._left_out(step, path)
                return Outcome("skipped", within=nothing(step))
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
            items, named = value_of(parse(source), place.all), roots(source)
        else:
            items, named = filled(source, place.all), roots_in(source)
        if items is None:
            items = []
        if not isinstance(items, list):
            raise Failed("for_each goes through a list")
        if len(items) > step.max:
            raise Failed(
                f"the list has {len(items)} items, and at most {step.max} are gone through"
            )
        vouched = named <= place.vouched
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
        return gathered(ends)

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
        if time.monotonic() > self._until and not self._over:
            raise Spent
        async with self._room:
            return await self._call(step, path, place)

    async def _call(self, step: Step, path: str, place: Place) -> Outcome:
        tool = step.tool or ASK
        template = dict(step.with_) if step.tool is not None else {"question": step.ask}
        row = self._calls.known(path)
        if self._over:
            return NOT_BEGUN if row is None else told(row)
        # As they were worked out before anything happened, where it has begun.
        arguments = filled(template, place.all) if row is None else row.arguments
        vouched = frozenset(
            name for name, value in template.items() if roots_in(value) <= place.vouched
        )
        wanted = Wanted(path, step.id, tool, arguments, vouched, step.retry, step.timeout)
        if row is not None and (row.state == "skipped" or not row.tool):
            return told(row)
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
        if self._calls.known(path) is None and not self._over:
            opening = self._own(step, path)
            await self._record.begin(replace(opening, state="skipped"))

    async def _impossible(self, step: Step, path: str, why: str) -> Outcome:
        """Note a step that cannot even begin, because a value is missing or is not as expected."""
        dry = self._record.run.dry_run
        if self._calls.known(path) is None and not self._over:
            row = await self._record.begin(self._own(step, path))
            told: dict[str, object] = {"code": "invalid_input", "detail": why}
            await self._record.close(row, Closing("skipped" if dry else "failed", error=told))
        # What rests on an effect that a dry run left out cannot be known either.
        return Outcome("skipped" if dry else "failed", error=why, within=nothing(step))

    async def _pause(self, step: Step, path: str, seconds: float) -> None:
        """Wait between two rounds, however often the walk begins anew."""
        if self._over:
            return
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
