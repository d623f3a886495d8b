"""Opens command mode over the program's tools and the names it knows at this moment."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from nebula.llm.command.mode import CommandMode
from nebula.llm.command.slots import SlotValues
from nebula.services.resolve import all_names
from nebula.tool.retrieval import Embeds, ToolIndex

if TYPE_CHECKING:
    from nebula.auth.principal import Caller
    from nebula.db.engine import Database
    from nebula.llm.command.model import CommandModel
    from nebula.services.directory import ServiceDirectory
    from nebula.services.map import ServiceMap
    from nebula.tool.registry import Registry


def open_commands(
    registry: "Registry", embedder: Embeds, db: "Database", services: "ServiceDirectory"
) -> CommandMode:
    """Return command mode; the tool index is built on first use."""
    index = ToolIndex(registry, embedder, db)
    return CommandMode(index, slot_values=known_names(services), about=registry.about)


def known_names(services: "ServiceDirectory") -> SlotValues:
    """Return what `{service}` and `{node}` may stand for; a changed map counts at once."""
    return {
        "service": _of_map(services, _services_first),
        "node": _of_map(services, lambda known: [node.name for node in known.nodes]),
    }


def _of_map(
    services: "ServiceDirectory", names: Callable[["ServiceMap"], list[str]]
) -> Callable[[], list[str]]:
    """Return names of the map, gathered once for each map: every sentence asks for them."""
    last: tuple[ServiceMap, list[str]] | None = None

    def now() -> list[str]:
        nonlocal last
        known = services.map
        if last is None or last[0] is not known:
            last = (known, names(known))
        return last[1]

    return now


def _services_first(known: "ServiceMap") -> list[str]:
    """Put services before models and aliases: a list of choices shows only the first few."""
    plain = [service.name for service in known.services if service.on_gpu]
    models = [model.name for service in known.services for model in service.models]
    return list(dict.fromkeys([*plain, *models, *all_names(known)]))


def command_model(
    mode: CommandMode, registry: "Registry", caller: "Caller | None"
) -> "CommandModel":
    """Return command mode as a chat model that understands what this caller may do."""
    from nebula.llm.command.model import CommandModel

    return CommandModel(mode=mode, registry=registry, caller=caller)
