"""Finds out which processes on a card belong to services of the map; the rest is foreign."""

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

import psutil

from nebula.gpu.snapshot import GpuProcess, GpuReading, Resident
from nebula.services.map import ServiceMap
from nebula.services.sizes import GIB, MIB

# When we may not see who listens on a port (another user's process), the name must do.
_NAMES = {"ollama": ("ollama", "llama-server", "llama_server")}

# Beside its models a process holds its context, workspaces, and what its allocator keeps.
_BESIDE = int(1.5 * GIB)
_ROUNDING = 256 * MIB


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


def by_size(gpus: Sequence[GpuReading], residents: Sequence[Resident]) -> tuple[GpuReading, ...]:
    """Find the process of a loaded model by what it holds, where pids and ports tell nothing.

    In a container NVML tells the pids of the host, and the ports of other users' programs are not
    ours to see. Counted as somebody else's, such a model would take its memory twice.
    """
    return tuple(_matched(gpu, [r for r in residents if r.gpu == gpu.index]) for gpu in gpus)


def _matched(gpu: GpuReading, residents: Sequence[Resident]) -> GpuReading:
    found = {p.pid: p for p in gpu.processes}
    seen = {p.service for p in gpu.processes}
    hidden = [r for r in residents if r.vram and r.service not in seen]
    for resident in sorted(hidden, key=lambda r: -(r.vram or 0)):
        if not _twice(gpu, found.values(), residents):
            break
        fits = [p for p in found.values() if p.foreign and _holds(p, resident.vram or 0)]
        if fits:
            process = min(fits, key=lambda p: p.vram or 0)
            found[process.pid] = process.model_copy(update={"service": resident.service})
    return gpu.model_copy(update={"processes": tuple(found[p.pid] for p in gpu.processes)})


def _twice(gpu: GpuReading, processes: Iterable[GpuProcess], residents: Sequence[Resident]) -> bool:
    """Say whether models and what seems to be other programs hold more than is in use at all."""
    others = sum(p.vram or 0 for p in processes if p.foreign)
    ours = sum(r.vram or 0 for r in residents)
    return gpu.vram_used is not None and others + ours > gpu.vram_used + _ROUNDING


def _holds(process: GpuProcess, size: int) -> bool:
    return process.vram is not None and size - _ROUNDING <= process.vram <= size + _BESIDE


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
