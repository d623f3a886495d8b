"""Finds out which processes on a card belong to services of the map; the rest is foreign."""

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

import psutil

from nebula.gpu.snapshot import GpuReading
from nebula.services.map import ServiceMap

# When we may not see who listens on a port (another user's process), the name must do.
_NAMES = {"ollama": ("ollama", "llama-server", "llama_server")}


def attribute(
    gpus: Iterable[GpuReading], services: ServiceMap, node: str
) -> tuple[GpuReading, ...]:
    """Name the service of each process on this machine's cards (blocking)."""
    owners = _owners(services, node)
    return tuple(
        gpu.model_copy(
            update={
                "processes": tuple(
                    p.model_copy(update={"service": _owner(p.pid, p.name, owners, services, node)})
                    for p in gpu.processes
                )
            }
        )
        for gpu in gpus
    )


def _owners(services: ServiceMap, node: str) -> Mapping[int, str]:
    """Return the service of every process that listens on a service's port."""
    ports: dict[int, str] = {}
    for service in services.on(node):
        port = urlsplit(services.address(service)).port
        if service.on_gpu and port is not None:
            ports[port] = service.name
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return {}
    return {
        c.pid: ports[c.laddr.port]
        for c in connections
        if c.laddr and c.status == psutil.CONN_LISTEN and c.pid is not None
        if c.laddr.port in ports
    }


def _owner(
    pid: int, name: str | None, owners: Mapping[int, str], services: ServiceMap, node: str
) -> str | None:
    """Look for a process among the owners, then for its parents (a runner of a server)."""
    current: int | None = pid
    for _ in range(4):
        if current is None:
            break
        if current in owners:
            return owners[current]
        current = _parent(current)
    for service in services.on(node):
        if (name or "").lower().removesuffix(".exe") in _NAMES.get(service.kind, ()):
            return service.name
    return None


def _parent(pid: int) -> int | None:
    try:
        return psutil.Process(pid).ppid() or None
    except psutil.Error:
        return None
