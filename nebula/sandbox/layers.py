"""Which layers of the sandbox this machine has, and what to install for one that is missing."""

import asyncio
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from nebula.errors import SandboxUnavailable
from nebula.sandbox import cgroup, landlock, running, seccomp
from nebula.sandbox.launch import PRLIMIT64

_PROGRAMS = ("/usr/bin", "/bin", "/usr/local/bin")
"""Only where the system's packages are: a `bwrap` put on PATH must not stand in for it."""
_SECONDS = 10.0


@dataclass(frozen=True)
class Layer:
    """One layer: whether it is there, and if not, what to do."""

    name: str
    there: bool
    detail: str
    next_step: str = ""


@dataclass(frozen=True)
class Machine:
    """What was found on this machine."""

    system: str
    processor: str
    bwrap: str
    perl: str
    namespaces: str
    """Why bubblewrap cannot make namespaces; empty when it can."""
    landlock: int
    seccomp: str
    """Why there is no filter; empty when there is."""
    root: bool
    place: cgroup.Place | None


def check_layers() -> list[Layer]:
    """Look at every layer; takes some milliseconds the first time."""
    return judge(examine())


async def whole() -> bool:
    """Say whether every layer is there."""
    return all(layer.there for layer in judge(await _found()))


async def required() -> Machine:
    """Return what was found when every layer is there, waiting only where it was never looked.

    Raises:
        SandboxUnavailable: names the layers that are missing and what to install.
    """
    machine = await _found()
    missing = [layer for layer in judge(machine) if not layer.there]
    if missing:
        raise SandboxUnavailable(
            "Nothing is run without the whole sandbox; missing: "
            + "; ".join(f"{layer.name} ({layer.detail})" for layer in missing),
            hint=" ".join(layer.next_step for layer in missing),
        )
    return machine


async def _found() -> Machine:
    return _examined() if _examined.cache_info().currsize else await asyncio.to_thread(examine)


def examine() -> Machine:
    """Find out what this machine has; what is complete is looked for only once."""
    machine = _examined()
    if not all(layer.there for layer in judge(machine)):
        _examined.cache_clear()
    return machine


def judge(machine: Machine) -> list[Layer]:
    """Say for each layer whether it is there."""
    supported = machine.system == "linux" and machine.processor in PRLIMIT64
    system = Layer(
        "system",
        supported,
        f"{machine.system} on {machine.processor}",
        "" if supported else "The sandbox needs Linux on x86_64 or aarch64.",
    )
    if not supported:
        return [system]
    return [
        system,
        _program("bubblewrap", machine.bwrap, "apt install bubblewrap"),
        _namespaces(machine),
        Layer(
            "landlock",
            machine.landlock > 0,
            f"version {machine.landlock}" if machine.landlock else "not in this kernel",
            "" if machine.landlock else "Start Linux 5.13 or newer with lsm=landlock,… enabled.",
        ),
        Layer(
            "seccomp",
            not machine.seccomp,
            machine.seccomp or "filter ready",
            "Install it: apt install libseccomp2" if machine.seccomp else "",
        ),
        _program("launcher", machine.perl, "apt install perl-base"),
        _bounds(machine),
    ]


def _program(name: str, found: str, install: str) -> Layer:
    return Layer(name, bool(found), found or "not installed", "" if found else f"Run: {install}.")


def _namespaces(machine: Machine) -> Layer:
    if not machine.bwrap:
        return Layer("namespaces", False, "made by bubblewrap", "Install bubblewrap first.")
    if machine.namespaces:
        return Layer("namespaces", False, machine.namespaces, _allow_namespaces())
    return Layer("namespaces", True, "user, mount, pid, network, ipc, uts")


def _bounds(machine: Machine) -> Layer:
    if machine.place:
        return Layer("limits", True, "rlimits, and a cgroup for each job")
    if machine.root:
        step = "Run Jarvis as an ordinary user, or let it write its cgroup (memory and pids)."
        detail = "no cgroup can be made, and rlimits do not bound root's processes"
        return Layer("limits", False, detail, step)
    return Layer("limits", True, "rlimits; memory is bounded for each process by itself")


def _allow_namespaces() -> str:
    for name, closed, step in (
        ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1",
         "an AppArmor profile that allows bwrap `userns` (apt install apparmor-profiles)"),
    ):  # fmt: skip
        file = Path("/proc/sys", name)
        if file.exists() and file.read_text().strip() == closed:
            return f"Allow user namespaces: {step}."
    return "In a container, allow user namespaces and mounts for it, or run Jarvis outside."


@cache
def _examined() -> Machine:
    supported = sys.platform == "linux" and platform.machine() in PRLIMIT64
    bwrap, perl = (_find("bwrap"), _find("perl")) if supported else ("", "")
    place = cgroup.find_place() if supported else None
    if supported:
        running.sweep()
    if place:
        cgroup.sweep(place)
    return Machine(
        system=sys.platform,
        processor=platform.machine(),
        bwrap=bwrap,
        perl=perl,
        namespaces=_try_namespaces(bwrap) if bwrap else "",
        landlock=landlock.version() if supported else 0,
        seccomp=_try_seccomp() if supported else "",
        root=supported and os.geteuid() == 0,
        place=place,
    )


def _find(name: str) -> str:
    places = (Path(folder, name) for folder in _PROGRAMS)
    return next((str(path) for path in places if os.access(path, os.X_OK)), "")


def _try_seccomp() -> str:
    try:
        seccomp.program()
    except SandboxUnavailable as error:
        return str(error)
    return ""


def _try_namespaces(bwrap: str) -> str:
    command: Sequence[str] = [
        bwrap, "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net",
        "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--size", "4096", "--tmpfs",
        "/tmp", "--", "/bin/true",  # noqa: S108
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False, env={})
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = done.stderr.decode("utf-8", "replace").strip()[:300]
    return "" if done.returncode == 0 else said or f"bubblewrap ended with {done.returncode}"
