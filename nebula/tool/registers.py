"""What names mean at this moment: those of the service map, and those that features register."""

from collections.abc import Iterator

from nebula.policy.names import Name, Names
from nebula.policy.selectors import Kind
from nebula.services.directory import ServiceDirectory
from nebula.services.map import NodeSpec, ServiceMap
from nebula.services.resolve import names_of


class Registers:
    """The registers that a value may come from; the map's names are indexed once per map."""

    def __init__(self, services: ServiceDirectory) -> None:
        """Take the service map in force."""
        self._services = services
        self._map: ServiceMap | None = None
        self._names = Names()

    def names(self) -> Names:
        """Return every name as it stands now."""
        current = self._services.map
        if current is not self._map:
            self._names = Names.of(_of_map(current))
            self._map = current
        return self._names


def _of_map(services: ServiceMap) -> Iterator[Name]:
    """Yield the map's names; those of a machine that joined were told by that machine."""
    joined = {node.name for node in services.nodes if node.agent}
    for node in services.nodes:
        yield from _of_node(node)
    for service in services.services:
        own = service.node not in joined
        for spoken, target in names_of(service):
            for kind in (Kind.SERVICE, Kind.MODEL):
                yield Name(kind, spoken, str(target), own)
                yield Name(kind, f"{service.name}/{target.model or ''}", str(target), own)


def _of_node(node: NodeSpec) -> Iterator[Name]:
    yield Name(Kind.NODE, node.name, node.name, not node.agent)
