"""Draws one turn: Jarvis's events in, Chainlit's messages, steps and elements out."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import singledispatchmethod
from typing import Any

from graphs.events import (
    ApprovalEvent,
    ChatEvent,
    DoneEvent,
    ErrorEvent,
    JobEvent,
    MessageEvent,
    PlanEvent,
    SessionEvent,
    StepEvent,
    TokenEvent,
    ToolEvent,
)
from nebula.markup.stream import Stream
from nebula.tool.diagram import Diagram
from nebula.tool.render import escape, to_markdown
from nebula.tool.result import Block, Image, JobProgress, Live, Plot
from ui.chat import elements
from ui.chat.icons import icon_of
from ui.chat.jobs import AUTHOR, cards_of
from ui.chat.screen import Screen, Step


def now() -> str:
    """Return the present moment as Chainlit writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Turn:
    """One turn on a screen; feed it the turn's events in order."""

    def __init__(self, screen: Screen, *, run_id: str, at: str | None = None) -> None:
        """Draw under the run step `run_id`; `at` is when it happened, for old turns."""
        self._screen = screen
        self._run_id = run_id
        self._at = at
        self._streams: dict[str, Stream] = {}
        self._tools: dict[str, Step] = {}
        # Results by the text that says the same: an answer that only repeats one is shown as it.
        self._shown: dict[str, Sequence[Block]] = {}
        self._jobs: set[str] = set()
        self._live: set[tuple[str, str]] = set()
        self._turn_id = run_id

    async def begin(self, parent_id: str | None = None) -> None:
        """Open the run: while it is open the page shows that something is going on."""
        run = self._step(self._run_id, "on_message", "run", parentId=parent_id)
        await self._screen.step({**run, "end": None})

    @singledispatchmethod
    async def show(self, event: ChatEvent) -> None:
        """Draw one event."""
        raise NotImplementedError(event)

    @show.register
    async def _session(self, event: SessionEvent) -> None:
        self._turn_id = event.turn_id

    @show.register
    async def _plan(self, event: PlanEvent) -> None:
        await self._screen.element(elements.plan(event.steps, self._turn_id))

    @show.register
    async def _phase(self, event: StepEvent) -> None:
        step = self._step(event.id, event.name, "undefined", output=event.detail)
        step["metadata"] = {"icon": "bot"}
        await self._screen.step(_with_status(step, event.status))

    @show.register
    async def _token(self, event: TokenEvent) -> None:
        known = self._streams.get(event.message_id)
        if known is None or event.restart:
            known = self._streams[event.message_id] = Stream()
            message = self._message(event.message_id, known.take(event.text))
            await self._screen.step({**message, "streaming": True})
        elif shown := known.take(event.text):
            await self._screen.token(event.message_id, shown)

    @show.register
    async def _tool(self, event: ToolEvent) -> None:
        step = self._tools.get(event.call_id)
        if step is None:
            step = self._step(event.call_id, event.name, "tool", showInput="json")
            step["metadata"] = {"icon": icon_of(event.name)}
            self._tools[event.call_id] = step
        if event.arguments:
            step["input"] = _json(event.arguments)
        step["name"] = _headline(event)
        if event.error is not None:
            step["output"] = error_text(event.error)
        elif event.blocks:
            step["output"] = to_markdown(event.blocks)
            self._shown[step["output"].strip()] = event.blocks
        elif event.result is not None:
            step["output"] = f"```json\n{_json(event.result)}\n```"
        _with_status(step, event.status)
        await self._screen.step(dict(step))
        # Tables are in the step's text already; pictures, plots and diagrams are not.
        drawn = (Plot, Image, Diagram)
        pictures = [block for block in event.blocks if isinstance(block, drawn)]
        for element in elements.elements_of(pictures, event.call_id):
            await self._screen.element(element)
        for card in cards_of(event.blocks):
            await self._job_card(card, f"{card.job_id}-{event.call_id}")
        for block in event.blocks:
            if isinstance(block, Live):
                await self._live_part(block, event.call_id)

    @show.register
    async def _approval(self, event: ApprovalEvent) -> None:
        message_id = f"ask-{event.approval_id}"
        await self._screen.step(self._message(message_id, ""))
        props = event.model_dump(exclude={"seq", "type"})
        card = elements.custom("ApprovalCard", f"card-{event.approval_id}", props)
        await self._screen.element({**card, "forId": message_id})

    @show.register
    async def _job(self, event: JobEvent) -> None:
        if event.job_id not in self._jobs:  # else its card follows it by itself
            card = JobProgress(
                job_id=event.job_id,
                tool=event.tool,
                state=event.state,
                fraction=event.progress,
                message=event.message,
            )
            await self._job_card(card, event.job_id)

    async def _job_card(self, job: JobProgress, name: str) -> None:
        self._jobs.add(job.job_id)
        message_id = f"job-{name}"
        await self._screen.step(self._message(message_id, ""))
        card = elements.job_card(job, f"card-{name}")
        await self._screen.element({**card, "forId": message_id})

    @show.register
    async def _finished(self, event: MessageEvent) -> None:
        streamed = self._streams.pop(event.message_id, None)
        blocks = event.blocks or self._shown.get(event.text.strip(), ())
        text = elements.text_of(blocks) if blocks else event.text
        # A part of the page that was drawn already says it all: no empty message beneath it.
        if text or streamed or not all(isinstance(block, Live) for block in blocks):
            await self._screen.step(self._message(event.message_id, text))
        for element in elements.elements_of(blocks, event.message_id):
            await self._screen.element(element)
        for block in blocks:
            if isinstance(block, Live):
                await self._live_part(block, event.message_id)

    async def _live_part(self, block: Live, name: str) -> None:
        """Draw a part that keeps itself up to date, once in a turn whoever shows it again."""
        if block.view not in elements.LIVE or (block.view, block.of) in self._live:
            return
        self._live.add((block.view, block.of))
        message_id = f"live-{name}-{block.view}"
        await self._screen.step(self._message(message_id, ""))
        element = elements.live(block, f"part-{name}-{block.view}-{block.of}")
        await self._screen.element({**element, "forId": message_id})

    @show.register
    async def _error(self, event: ErrorEvent) -> None:
        message = self._message(f"error-{self._run_id}", error_text(event.error))
        await self._screen.step({**message, "isError": True})

    @show.register
    async def _done(self, event: DoneEvent) -> None:
        for message_id, stream in self._streams.items():
            await self._screen.step(self._message(message_id, stream.whole))
        if event.outcome == "cancelled":
            await self._screen.step(self._message(f"stopped-{self._run_id}", "*Stopped.*"))
        await self.end()

    async def end(self) -> None:
        """Close the run and whatever was left open in it."""
        for step in self._tools.values():
            if step.get("end") is None:
                await self._screen.step({**step, "end": self._moment()})
        run = self._step(self._run_id, "on_message", "run")
        run.pop("parentId")
        await self._screen.step({**run, "end": self._moment()})

    def _moment(self) -> str:
        return self._at or now()

    def _message(self, message_id: str, text: str) -> Step:
        return self._step(message_id, AUTHOR, "assistant_message", output=text)

    def _step(self, step_id: str, name: str, kind: str, **more: Any) -> Step:
        step: Step = {
            "id": step_id,
            "name": name,
            "type": kind,
            "parentId": self._run_id,
            "createdAt": self._moment(),
            "start": self._moment(),
            "input": "",
            "output": "",
            "streaming": False,
            "isError": False,
            "metadata": {},
        }
        return {**step, **more}


def _headline(event: ToolEvent) -> str:
    if event.status == "waiting":
        return f"{event.name} · waiting for approval"
    if event.status != "running":
        return event.name
    parts = [event.name]
    if event.progress is not None:
        parts.append(f"{event.progress:.0%}")
    if event.message:
        parts.append(event.message)
    return " · ".join(parts)


def _with_status(step: Step, status: str) -> Step:
    step["isError"] = status == "failed"
    step["end"] = None if status == "running" else now()
    return step


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def error_text(error: Mapping[str, Any]) -> str:
    """Return an error of the one shape as Markdown: what happened, then the next step."""
    text = escape(str(error.get("detail") or "Something went wrong"))
    fields = error.get("fields") or []
    lines = [f"- `{escape(str(f.get('field')))}`: {escape(str(f.get('problem')))}" for f in fields]
    if lines:
        text += "\n\n" + "\n".join(lines)
    hint = error.get("hint")
    return f"{text}\n\n**Next step:** {escape(str(hint))}" if hint else text
