"""Opens command mode over the program's tools and the names it knows at this moment."""

from typing import TYPE_CHECKING

from nebula.llm.command.mode import CommandMode
from nebula.llm.command.slots import SlotValues
from nebula.tool.retrieval import Embeds, ToolIndex

if TYPE_CHECKING:
    from nebula.auth.principal import Caller
    from nebula.db.engine import Database
    from nebula.llm.command.model import CommandModel
    from nebula.services.directory import ServiceDirectory
    from nebula.tool.registry import Registry


def open_commands(
    registry: "Registry", embedder: Embeds, db: "Database", services: "ServiceDirectory"
) -> CommandMode:
    """Return command mode; the tool index is built on first use."""
    index = ToolIndex(registry, embedder, db)
    return CommandMode(index, slot_values=known_names(services), about=registry.about)


def known_names(services: "ServiceDirectory") -> SlotValues:
    """Return what `{service}` and `{node}` may stand for, read anew for each sentence."""
    return {
        "service": lambda: _services_first(services),
        "node": lambda: [node.name for node in services.map.nodes],
    }


def _services_first(services: "ServiceDirectory") -> list[str]:
    """Put services before models and aliases: a list of choices shows only the first few."""
    found = services.map.services
    plain = [service.name for service in found if service.on_gpu]
    models = [model.name for service in found for model in service.models]
    return list(dict.fromkeys([*plain, *models, *services.names()]))


def command_model(
    mode: CommandMode, registry: "Registry", caller: "Caller | None"
) -> "CommandModel":
    """Return command mode as a chat model that understands what this caller may do."""
    from nebula.llm.command.model import CommandModel

    return CommandModel(mode=mode, registry=registry, caller=caller)
