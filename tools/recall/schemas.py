"""What the recall tools return, and how it is shown."""

from collections.abc import Sequence

from pydantic import Field

from memory.recall.store import Memory
from nebula.policy.labels import Label
from nebula.tool.render import escape
from nebula.tool.result import Block, Markdown, Result


class Saved(Result):
    """A fact that is remembered now."""

    memory: Memory
    new: bool

    def render(self) -> Sequence[Block]:
        """Repeat the fact, so that the person sees what was kept."""
        said = "I will remember that" if self.new else "I knew that already"
        return [Markdown(text=f"{said}: {escape(self.memory.text)}")]


class Memories(Result):
    """Facts about the person who asks."""

    query: str
    memories: list[Memory]

    def origin(self) -> Label:
        """Return OUTSIDE when any fact came out of an outside text, else USER."""
        outside = any(memory.label is Label.OUTSIDE for memory in self.memories)
        return Label.OUTSIDE if outside else Label.USER

    def render(self) -> Sequence[Block]:
        """List the facts, and name those that were not the person's own words."""
        if not self.memories:
            about = f" about “{escape(self.query)}”" if self.query else " about you yet"
            return [
                Markdown(text=f"I remember nothing{about}. Say “remember that …” to change that.")
            ]
        return [Markdown(text="\n".join(_line(memory) for memory in self.memories))]


class ForgottenMemory(Result):
    """A fact that is no longer remembered."""

    text: str
    label: Label = Field(Label.OUTSIDE, exclude=True)

    def origin(self) -> Label:
        """Return where the fact came from."""
        return self.label

    def render(self) -> Sequence[Block]:
        """Repeat what is gone."""
        return [Markdown(text=f"Forgotten: {escape(self.text)}")]


def _line(memory: Memory) -> str:
    from_outside = " (from a text of someone else)" if memory.label is Label.OUTSIDE else ""
    return f"- {escape(memory.text)}{from_outside}"
