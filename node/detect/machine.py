"""The whole machine: hardware once in a while, figures of use all the time."""

import platform
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import psutil

from node.detect import amd, network, nvidia
from node.detect.run import output
from node.protocol import Card, CardProcess, Disk, Hardware, Metrics

_PARENTS = 4
_SMALL_DISK = 1024**3


def hardware(home: Path) -> Hardware:
    """Look at the machine (blocking, up to some seconds)."""
    found, cuda, wrong = nvidia.cards()
    amd_cards = () if found else amd.cards()
    mac, broadcast = network.lan()
    return Hardware(
        hostname=socket.gethostname()[:253],
        os=_system(),
        os_version=platform.release(),
        architecture=platform.machine(),
        python=platform.python_version(),
        cpu=_cpu(),
        cores=psutil.cpu_count(logical=False),
        threads=psutil.cpu_count(),
        ram=psutil.virtual_memory().total,
        disks=disks(home),
        # What a card does now belongs to the figures of use.
        cards=tuple(_still(card) for card in found or amd_cards),
        cuda=cuda,
        rocm=amd.rocm_version() if amd_cards else None,
        tailscale=network.tailscale(),
        mac=mac,
        broadcast=broadcast,
        notes=(wrong,) if wrong else (),
    )


def metrics(home: Path, services: Mapping[int, int], tasks: Mapping[int, str]) -> Metrics:
    """Say how busy the machine is; `services` are processes and ports, `tasks` and ids."""
    found = nvidia.cards()[0] or amd.cards()
    memory = psutil.virtual_memory()
    owners = dict(services)
    if any(card.processes for card in found):
        owners = _listening() | owners
    return Metrics(
        cpu=psutil.cpu_percent() / 100,
        ram_used=memory.total - memory.available,
        ram_total=memory.total,
        disk_free=psutil.disk_usage(str(_existing(home))).free,
        cards=tuple(
            replace(c, processes=tuple(_named(p, owners, tasks) for p in c.processes))
            for c in found
        ),
    )


def disks(home: Path) -> tuple[Disk, ...]:
    """Return the file systems, that of the agent's data first, small ones left out."""
    seen: dict[str, Disk] = {}
    for path in (str(_existing(home)), *(p.mountpoint for p in psutil.disk_partitions())):
        try:
            usage = psutil.disk_usage(path)
        except OSError:
            continue
        if path not in seen and usage.total >= _SMALL_DISK:
            seen[path] = Disk(path, usage.total, usage.free)
    return tuple(seen.values())[:16]


def _still(card: Card) -> Card:
    return replace(
        card, vram_used=None, utilization=None, temperature=None, power=None, processes=()
    )


def _named(p: CardProcess, owners: Mapping[int, int], tasks: Mapping[int, str]) -> CardProcess:
    """Add a process's name, and the service or task that it or a parent of it is."""
    port, task, pid = None, None, p.pid
    try:
        name: str | None = psutil.Process(pid).name()
        for _ in range(_PARENTS):
            port, task = port or owners.get(pid), task or tasks.get(pid)
            pid = psutil.Process(pid).ppid()
    except psutil.Error:
        name = None
    return replace(p, name=name, port=port, task=task)


def _listening() -> dict[int, int]:
    """Return which process listens on the port of an AI service."""
    from node.detect.services import USUAL

    ports = {port for port, _, _ in USUAL.values()}
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return {}
    return {
        c.pid: c.laddr.port
        for c in connections
        if c.pid is not None and c.laddr and c.status == psutil.CONN_LISTEN
        if c.laddr.port in ports
    }


def _system() -> str:
    if platform.system() == "Linux":
        try:
            return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
        except OSError:
            return "Linux"
    return platform.system()


def _cpu() -> str:
    if platform.system() == "Linux":
        for line in _cpuinfo().splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
        found = [x for x in output(["lscpu"]).splitlines() if x.startswith("Model name")]
        return found[0].partition(":")[2].strip() if found else platform.machine()
    return platform.processor()


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return ""


def _existing(path: Path) -> Path:
    path = path.resolve()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
