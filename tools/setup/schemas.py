"""What the set-up tools take and return."""

from collections.abc import Sequence
from enum import StrEnum

from pydantic import BaseModel, Field

from nebula.tool.render import escape
from nebula.tool.result import Block, Choices, Markdown, Result, Table


class State(StrEnum):
    """How a part of the installation is."""

    OK = "ok"
    OPTIONAL = "optional"
    """Not there, and Jarvis works without it."""
    MISSING = "missing"
    UNKNOWN = "unknown"


class Check(BaseModel):
    """One part of the installation, with the next step when there is one."""

    name: str
    state: State
    detail: str
    next_step: str = ""


class SetupReport(Result):
    """Everything that was looked at."""

    checks: list[Check]

    def render(self) -> Sequence[Block]:
        """Show a table with marks, then the next steps, then what may be asked."""
        marks = {State.OK: "✓", State.OPTIONAL: "○", State.MISSING: "✗", State.UNKNOWN: "?"}
        rows = [[marks[each.state], each.name, each.detail] for each in self.checks]
        blocks: list[Block] = [
            Table(title="Set-up", columns=["", "Part", "What is there"], rows=rows)
        ]
        order = [State.MISSING, State.UNKNOWN, State.OPTIONAL]
        steps = sorted(
            (each for each in self.checks if each.next_step and each.state in order),
            key=lambda each: order.index(each.state),
        )
        if not steps:
            return [*blocks, Markdown(text="Everything is set up.")]
        lines = [f"{n}. **{escape(s.name)}**: {s.next_step}" for n, s in enumerate(steps, 1)]
        blocks.append(Markdown(text="Next steps:\n\n" + "\n".join(lines)))
        asked = [
            (f"How do I connect {each.name}?", f"How do I connect {each.name}?")
            for each in steps
            if each.name in {"Ollama", "OpenAI", "ComfyUI", "SD WebUI"}
        ]
        if asked:
            blocks.append(Choices(question="Ask the manual:", options=asked))
        return blocks


class Setting(StrEnum):
    """What can be set."""

    OLLAMA_HOST = "ollama_host"
    OPENAI_API_KEY = "openai_api_key"
    OPENAI_BASE_URL = "openai_base_url"
    MODEL_SMALL = "model_small"
    MODEL_LARGE = "model_large"
    MODEL_VISION = "model_vision"
    PUBLIC_URL = "public_url"
    COMFYUI = "comfyui"
    SDWEBUI = "sdwebui"


class Applied(Result):
    """What was changed, and how to take it back."""

    setting: Setting
    before: str = Field(description="Empty when it was not set; secrets are never shown")
    after: str
    file: str
    backup: str = Field(description="The file as it was, empty when there was none")
    answers: bool | None = Field(None, description="Whether the address answered just now")
    next_step: str

    def render(self) -> Sequence[Block]:
        """Say what changed, whether it answers, and how to undo it."""
        change = f"**{self.setting}**: {escape(self.before or 'not set')} → "
        lines = [change + escape(self.after or "not set")]
        if self.answers is not None:
            lines.append("It answers." if self.answers else "Nothing answers there yet.")
        lines.append(self.next_step)
        lines.append(f"To take it back: `/setup_apply setting={self.setting} undo=yes`")
        return [Markdown(text="\n\n".join(lines))]
