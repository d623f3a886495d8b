"""One turn as Discord's messages: Jarvis's events in, the pages to show out. Nothing is sent here."""

from collections.abc import Mapping, Sequence
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
    PlanStep,
    SessionEvent,
    StepEvent,
    TokenEvent,
    ToolEvent,
)
from nebula.markup.mentions import unmentioned
from nebula.markup.stream import Stream
from nebula.tool.render import escape, to_markdown
from nebula.tool.result import Block, Image, JobProgress, Plot
from ui.discord.render import Upload, code, job_line, safe, show
from ui.discord.split import split

_MARKS = {"pending": "▫️", "running": "▸", "done": "✓", "failed": "✗", "waiting": "⏸"}
_STEPS_SHOWN = 6


class TurnView:
    """What is known of a turn; `pages` is what Discord should show at this moment."""

    def __init__(self, link: str) -> None:
        """Take where the web chat is."""
        self.outcome: str | None = None
        self.approvals: list[ApprovalEvent] = []
        self.acted = False
        """Something happened that was not told before: a tool ran, a word was said."""
        self.files: list[Upload] = []
        self._link = link
        self._plan: Sequence[PlanStep] = ()
        self._phases: dict[str, StepEvent] = {}
        self._tools: dict[str, ToolEvent] = {}
        self._jobs: dict[str, JobProgress] = {}
        self.begun: set[str] = set()
        """The jobs that it began itself."""
        self._streams: dict[str, Stream] = {}
        self._texts: dict[str, str] = {}
        self._error = ""
        self._blocks_said: dict[str, Sequence[Block]] = {}

    @property
    def done(self) -> bool:
        """Say whether the turn is over, or waits for a person."""
        return self.outcome is not None

    @property
    def jobs(self) -> list[str]:
        """Return the background jobs that the turn told of."""
        return list(self._jobs)

    def pages(self) -> list[str]:
        """Return the messages to show, in order."""
        parts = [self._status(), *self._answer()]
        if self._error:
            parts.append(self._error)
        if self.outcome == "cancelled":
            parts.append("*Stopped.*")
        text = "\n".join(part for part in parts if part.strip())
        return split(text) or (["*Done.*"] if self.outcome == "answered" else [])

    def stop(self, reason: str) -> None:
        """End the view: nothing more is shown, whatever the turn says."""
        self._error = f"⚠️ {unmentioned(escape(reason))}"
        self._texts, self._streams, self.approvals = {}, {}, []
        self.outcome = "stopped"

    @singledispatchmethod
    def take(self, event: ChatEvent) -> None:
        """Take one event."""
        raise NotImplementedError(event)

    @take.register
    def _session(self, _event: SessionEvent) -> None:
        return

    @take.register
    def _planned(self, event: PlanEvent) -> None:
        self._plan = event.steps

    @take.register
    def _phase(self, event: StepEvent) -> None:
        self.acted = True
        self._phases[event.id] = event

    @take.register
    def _token(self, event: TokenEvent) -> None:
        self.acted = True
        if event.restart or event.message_id not in self._streams:
            self._streams[event.message_id] = Stream()
            self._texts[event.message_id] = ""
        self._texts[event.message_id] += self._streams[event.message_id].take(event.text)

    @take.register
    def _tool(self, event: ToolEvent) -> None:
        self.acted = True
        self._tools[event.call_id] = event
        if event.blocks:
            self._blocks_said[to_markdown(event.blocks).strip()] = event.blocks
            for block in event.blocks:
                if isinstance(block, JobProgress):
                    self._jobs[block.job_id] = block
        if event.status == "done":
            pictures = [block for block in event.blocks if isinstance(block, Plot | Image)]
            if pictures:
                self._texts[f"shown-{event.call_id}"] = self._shown(pictures)

    @take.register
    def _approval(self, event: ApprovalEvent) -> None:
        self.approvals.append(event)

    @take.register
    def _job(self, event: JobEvent) -> None:
        self.begun.add(event.job_id)
        self._jobs[event.job_id] = JobProgress(
            job_id=event.job_id,
            tool=event.tool,
            state=event.state,
            fraction=event.progress,
            message=event.message,
        )

    @take.register
    def _message(self, event: MessageEvent) -> None:
        self._streams.pop(event.message_id, None)
        blocks = event.blocks or self._blocks_said.get(event.text.strip(), ())
        for key in [key for key in self._texts if key.startswith("shown-") and blocks]:
            del self._texts[key]
            self.files = []
        for block in blocks:
            if isinstance(block, JobProgress):
                self._jobs.setdefault(block.job_id, block)
        self._texts[event.message_id] = self._shown(blocks) if blocks else safe(event.text)

    @take.register
    def _failed(self, event: ErrorEvent) -> None:
        self._error = error_text(event.error)

    @take.register
    def _over(self, event: DoneEvent) -> None:
        for message_id, stream in self._streams.items():
            self._texts[message_id] = safe(stream.whole)
        if event.outcome == "failed" and not self._error and not self._texts:
            self._error = "⚠️ This was interrupted. Ask again."
        self.outcome = event.outcome

    def _shown(self, blocks: Sequence[Block]) -> str:
        shown = show(blocks, self._link)
        self.files += shown.files
        return shown.text

    def _answer(self) -> list[str]:
        texts = [text.strip() for text in self._texts.values()]
        jobs = [job_line(job) for job in self._jobs.values()] if not self.done else []
        return ["\n\n".join(part for part in [*texts, *jobs] if part)]

    def _status(self) -> str:
        """Return one or a few small lines: the plan, what runs, what ran."""
        if self._plan and not self.done:
            lines = [f"-# {_MARKS[step.status]} {_line(step.title)}" for step in self._plan[:12]]
            return "\n".join([*lines, self._running()]).strip()
        if self.done:
            return self._ran()
        return self._running()

    def _running(self) -> str:
        for call in reversed(self._tools.values()):
            if call.status == "running":
                share = "" if call.progress is None else f" {call.progress:.0%}"
                said = f" · {_line(call.message)}" if call.message else ""
                return f"-# ⏳ {code(call.name)}{share}{said}"
        for phase in reversed(self._phases.values()):
            if phase.status == "running":
                return f"-# ⏳ {_line(phase.name)}"
        return "" if any(text.strip() for text in self._texts.values()) else "-# ⏳ Thinking…"

    def _ran(self) -> str:
        marks = [f"{_MARKS[call.status]} {code(call.name)}" for call in self._tools.values()]
        if not marks:
            return ""
        more = f" · and {len(marks) - _STEPS_SHOWN} more" if len(marks) > _STEPS_SHOWN else ""
        return f"-# {' · '.join(marks[:_STEPS_SHOWN])}{more}"


def error_text(error: Mapping[str, Any]) -> str:
    """Return an error of the one shape: what happened, then the next step."""
    lines = [f"⚠️ {_plain(error.get('detail') or 'Something went wrong')}"]
    fields = error.get("fields") or []
    lines += [f"- {code(str(f.get('field')))}: {_plain(f.get('problem'))}" for f in fields]
    if error.get("hint"):
        lines.append(f"**Next step:** {_plain(error['hint'])}")
    return "\n".join(lines)


def _plain(value: object) -> str:
    return unmentioned(escape(str(value)))


def _line(text: str) -> str:
    plain = " ".join(_plain(text).split())
    return plain if len(plain) <= 120 else f"{plain[:119]}…"
