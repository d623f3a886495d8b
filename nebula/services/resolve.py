"""Finds the service or model a person means: exact names, aliases, then near misses. Pure."""

import re
from collections.abc import Iterator
from difflib import SequenceMatcher

from nebula.errors import NotFound
from nebula.services.map import ServiceMap, ServiceSpec, Target

# Two names this alike are the same name with a typing error ("stabel difusion").
_ALIKE = 0.84
_SUGGEST = 0.5
_NOISE = re.compile(r"^(the|my|to|a)\s+|\s+(model|service|server|please)$")


def normal(text: str) -> str:
    """Return a name in the form names are compared in."""
    text = re.sub(r"[\s_\-./]+", " ", text.casefold()).strip(" .!?\"'")
    while (shorter := _NOISE.sub("", text)) != text:
        text = shorter
    return text


def names_of(service: ServiceSpec) -> Iterator[tuple[str, Target]]:
    """Yield every name a service and its models go by."""
    whole = Target(service=service.name)
    yield service.name, whole
    for alias in service.aliases:
        yield alias, whole
    for model in service.models:
        target = Target(service=service.name, model=model.name)
        yield model.name, target
        for alias in model.aliases:
            yield alias, target


def all_names(services: ServiceMap) -> list[str]:
    """Return every name and alias once, in the map's order."""
    return list(dict.fromkeys(name for s in services.services for name, _ in names_of(s)))


def resolve(services: ServiceMap, text: str, node: str | None = None) -> tuple[Target, ...]:
    """Return what a name may mean, in the map's order; several services may share an alias.

    Raises:
        NotFound: when nothing is called that, with the nearest names.
    """
    wanted = normal(text)
    pairs = [
        (normal(name), target)
        for service in services.services
        if service.on_gpu and node in {None, service.node}
        for name, target in names_of(service)
    ]
    exact = _unique(target for name, target in pairs if name == wanted)
    if exact or (exact := _prefixed(services, text, node)):
        return exact
    begun = {name for name, _ in pairs if wanted and name.startswith(f"{wanted} ")}
    if len(begun) == 1:
        return _unique(target for name, target in pairs if name in begun)
    scored = sorted({(_alike(wanted, name), name) for name, _ in pairs}, reverse=True)
    if scored and scored[0][0] >= _ALIKE and (len(scored) < 2 or scored[1][0] < scored[0][0]):
        return _unique(target for name, target in pairs if name == scored[0][1])
    raise _not_found(services, text, node)


def _prefixed(services: ServiceMap, text: str, node: str | None) -> tuple[Target, ...]:
    """Read `service/model` and `service: model`, where the model need not be in the map."""
    match = re.match(r"^\s*([\w\- ]+?)\s*(?:/|:\s)\s*(\S.*)$", text)
    if not match:
        return ()
    service, model = normal(match.group(1)), match.group(2).strip()
    return _unique(
        Target(service=spec.name, model=model)
        for spec in services.services
        if spec.on_gpu and node in {None, spec.node}
        if service in {normal(spec.name), *(normal(a) for a in spec.aliases)}
    )


def _unique(targets: "Iterator[Target]") -> tuple[Target, ...]:
    return tuple(dict.fromkeys(targets))


def _alike(a: str, b: str) -> float:
    return SequenceMatcher(None, a, b).ratio()


def _not_found(services: ServiceMap, text: str, node: str | None) -> NotFound:
    if node is not None and services.node(node) is None:
        known = ", ".join(n.name for n in services.nodes) or "none"
        return NotFound(f"There is no node {node!r} in the service map", hint=f"Nodes: {known}.")
    wanted = normal(text)
    other = next((s for s in services.services if normal(s.name) == wanted), None)
    if other is not None and not other.on_gpu:
        return NotFound(f"{other.name} is a service without a GPU", hint="services_list shows it.")
    names = [n for s in services.services if s.on_gpu for n, _ in names_of(s)]
    near = sorted(names, key=lambda n: -_alike(wanted, normal(n)))
    near = [n for n in near if _alike(wanted, normal(n)) >= _SUGGEST][:3] or names[:5]
    where = f" on {node}" if node else ""
    hint = f"Did you mean {', '.join(near)}?" if near else "The service map has no GPU service."
    return NotFound(f"No AI service or model is called {text[:80]!r}{where}", hint=hint)
