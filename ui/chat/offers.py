"""What the empty page offers, from the registry: starters and slash commands."""

from collections.abc import Iterable, Sequence

from nebula.auth.principal import Principal, Surface
from nebula.tool.definition import AnyTool, Audience, Effect
from ui.chat import door
from ui.chat.icons import icon_of

STARTERS = 6
_FEATURES = ("gpu", "services", "knowledge", "agents", "setup", "jarvis", "recall")
_VERBS = ("status", "search", "check", "list", "switch")
"""What tells a newcomer most, first; everything else follows by name."""
_LABEL_LENGTH = 42


def tools_for(principal: Principal) -> list[AnyTool]:
    """Return the tools a person may be offered in chat."""
    visible = door.app().executor.visible(principal, by_model=False, surface=Surface.CHAT)
    return [tool for tool in visible if tool.audience is not Audience.HUMAN]


def starters(tools: Iterable[AnyTool]) -> list[tuple[str, str]]:
    """Return a few things worth saying first, each as (what it says, feature).

    One look around per feature, so that the page shows the breadth of what is there, and one
    reversible change, which is what people come for.
    """
    offered = [tool for tool in tools if _sentence(tool)]
    looks = _best(tool for tool in offered if tool.effect is Effect.READ)
    changes = _best(tool for tool in offered if tool.effect is Effect.WRITE)
    chosen = [*looks[:1], *changes[:1], *looks[1:]]
    return [(_sentence(tool), tool.feature) for tool in chosen[:STARTERS]]


def _best(tools: Iterable[AnyTool]) -> list[AnyTool]:
    """Return the most telling tool of each feature."""
    best: dict[str, AnyTool] = {}
    for tool in sorted(tools, key=_rank):
        best.setdefault(tool.feature, tool)
    return list(best.values())


def _rank(tool: AnyTool) -> tuple[int, int, str]:
    verb = tool.name.split("_")[1]
    feature = _FEATURES.index(tool.feature) if tool.feature in _FEATURES else len(_FEATURES)
    return feature, _VERBS.index(verb) if verb in _VERBS else len(_VERBS), tool.name


def _sentence(tool: AnyTool) -> str:
    found = next((text for text in tool.examples if len(text) <= _LABEL_LENGTH), "")
    return found[:1].upper() + found[1:]


def commands(tools: Sequence[AnyTool]) -> list[dict[str, object]]:
    """Return a slash command for each tool."""
    return [
        {
            "id": tool.name,
            "icon": icon_of(tool.name),
            "description": tool.summary,
            "button": False,
            "persistent": False,
        }
        for tool in tools
    ]
