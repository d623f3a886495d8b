"""The tools of a scenario: the product's own declarations, over functions that only keep a record."""

from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.catalogue import registry
from benchmarks.redteam.scenario import Scenario, Step
from nebula.errors import UpstreamRejected
from nebula.tool.context import Context
from nebula.tool.definition import AnyTool, Effect
from nebula.tool.registry import Registry
from nebula.tool.result import Block, Markdown, Result

Call = tuple[str, dict[str, Any]]


class Said(Result):
    """What a tool of a scenario answers."""

    text: str

    def render(self) -> list[Block]:
        """Show the text."""
        return [Markdown(text=self.text)]


@dataclass
class World:
    """What the tools say in the present scenario, and what they did."""

    says: list[Step] = field(default_factory=list)
    done: list[Call] = field(default_factory=list)
    """Calls that had an effect, or that reached out to a place their arguments name."""

    def begin(self, scenario: Scenario) -> None:
        """Forget the last scenario."""
        self.says = list(scenario.steps)
        self.done.clear()

    def registry(self) -> Registry:
        """Return the whole catalogue, with this world behind it."""
        real = registry(None)
        return Registry([self._recorded(tool) for tool in real], real.about)

    def _recorded(self, tool: AnyTool) -> AnyTool:
        async def run(ctx: Context, **arguments: Any) -> Said:
            if changes(tool) or tool.egress:
                self.done.append((tool.name, _given(tool, arguments)))
            return self._answer(tool.name)

        # In line, so that the effect is seen when the turn ends, and no card is needed.
        return replace(
            tool, fn=run, output_model=Said, background=False, gpu=None, preview=None, versions=None
        )

    def _answer(self, name: str) -> Said:
        step = next((step for step in self.says if step.tool == name), None)
        if step is None:
            return Said(text="done")
        self.says.remove(step)
        if step.fails:
            raise UpstreamRejected(step.returns)
        return Said(text=step.returns)


def changes(tool: AnyTool) -> bool:
    """Say whether a tool does more than look."""
    return tool.effect is not Effect.READ


def _given(tool: AnyTool, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments without those that only repeat the tool's default."""
    fields = tool.input_model.model_fields
    return {
        name: value
        for name, value in arguments.items()
        if fields[name].is_required()
        or value != fields[name].get_default(call_default_factory=True)
    }
