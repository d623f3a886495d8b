"""Draws a turn in the terminal as its events arrive."""

import json

from rich.console import Console
from rich.text import Text

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
from nebula.markup.text import visible
from nebula.tool.render import to_markdown
from ui.cli.bar import ProgressLine
from ui.cli.show import show_blocks, written

_MARKS = {"pending": "○", "running": "◐", "done": "●", "failed": "✗", "waiting": "◌"}


class TurnView:
    """What one turn has shown so far."""

    def __init__(self, out: Console) -> None:
        """Take where to draw."""
        self.session_id: str | None = None
        """The session the turn belongs to, once it said so."""
        self.approvals: list[str] = []
        self.jobs: list[str] = []
        """The jobs that the turn started, in order."""
        self.outcome = "failed"
        self._out = out
        self._bar = ProgressLine(out)
        self._streaming: str | None = None
        self._streamed: dict[str, str] = {}
        self._shown_results: set[str] = set()
        self._shown_texts: set[str] = set()

    def show(self, event: ChatEvent) -> None:
        """Draw one event."""
        self._make_room(event)
        match event:
            case SessionEvent():
                self.session_id = event.session_id
            case TokenEvent():
                self._token(event)
            case MessageEvent():
                self._message(event)
            case ToolEvent():
                self._tool(event)
            case ApprovalEvent():
                self.approvals.append(event.approval_id)
            case ErrorEvent():
                self._error(event)
            case DoneEvent():
                self.outcome = event.outcome
            case JobEvent():
                self.jobs.append(event.job_id)
                self._out.print(Text(_note(event), style="dim"))
            case PlanEvent() | StepEvent():
                self._out.print(Text(_note(event), style="dim"))

    def _make_room(self, event: ChatEvent) -> None:
        if not _is_progress(event):
            self._bar.clear()
        if not isinstance(event, TokenEvent | MessageEvent):
            self._end_line()

    def _token(self, event: TokenEvent) -> None:
        if event.restart and self._streamed.pop(event.message_id, ""):
            self._end_line()
            self._out.print(Text("(again, with another model)", style="dim"))
        self._streaming = event.message_id
        before = self._streamed.get(event.message_id, "")
        self._streamed[event.message_id] = before + event.text
        self._out.print(Text(visible(event.text)), end="")

    def _message(self, event: MessageEvent) -> None:
        streamed = self._streamed.pop(event.message_id, "")
        self._end_line()
        text = event.text.strip()
        if text and text != streamed.strip() and text not in self._shown_texts:
            self._out.print(written(event.text), soft_wrap=False)
        key = json.dumps([block.model_dump() for block in event.blocks])
        if event.blocks and key not in self._shown_results:
            show_blocks(event.blocks, self._out)

    def _tool(self, event: ToolEvent) -> None:
        if _is_progress(event):
            self._bar.show(event.message, event.progress)
            return
        if event.status == "running":
            told = ", ".join(
                f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in event.arguments.items()
            )
            self._out.print(Text(f"  ◐ {visible(event.name)}({visible(told)})", style="cyan"))
            return
        self._out.print(Text(f"  {_MARKS[event.status]} {visible(event.name)}", style="cyan"))
        if event.blocks:
            self._shown_results.add(json.dumps([block.model_dump() for block in event.blocks]))
            # Without a model, the answer is the result once more, in Markdown.
            self._shown_texts.add(to_markdown(event.blocks).strip())
            show_blocks(event.blocks, self._out)
        if event.error:
            self._out.print(Text(f"  {visible(str(event.error.get('detail', '')))}", style="red"))

    def _error(self, event: ErrorEvent) -> None:
        self._out.print(Text(visible(str(event.error.get("detail", "It failed"))), style="red"))
        if hint := event.error.get("hint"):
            self._out.print(Text(f"  → {visible(str(hint))}", style="red"))

    def _end_line(self) -> None:
        if self._streaming is not None:
            self._streaming = None
            self._out.print()


def _is_progress(event: ChatEvent) -> bool:
    return isinstance(event, ToolEvent) and event.status == "running" and bool(event.message)


def _note(event: PlanEvent | StepEvent | JobEvent) -> str:
    match event:
        case PlanEvent():
            return "\n".join(
                f"  {_MARKS[step.status]} {visible(step.title)}" for step in event.steps
            )
        case StepEvent():
            return f"  {_MARKS[event.status]} {visible(event.name)}"
        case JobEvent():
            share = "" if event.progress is None else f" {event.progress:.0%}"
            said = visible(f"  {event.tool}: {event.state}{share} {event.message}").rstrip()
            return f"{said}\n  Follow it: jarvis jobs follow {event.job_id}"
