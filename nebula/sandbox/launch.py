"""The record that `inside/launch.pl` reads inside the sandbox, and its answer."""

import os
import platform
from collections.abc import Sequence

from nebula.errors import InvalidInput, SandboxUnavailable
from nebula.sandbox import landlock
from nebula.sandbox.job import Limits, Sandboxed
from nebula.sandbox.landlock import Rule

PRLIMIT64 = {"x86_64": 302, "aarch64": 261}
"""The system call that sets a limit, by machine."""
_NO_DUMP = 1
"""RLIMIT_CORE: with 0 a kernel that pipes dumps to a program still would; 1 stops that as well."""


def record(job: Sandboxed, rules: Sequence[Rule], abi: int, *, in_cgroup: bool) -> bytes:
    """Return everything the launcher is to do, fields ended by NUL."""
    fields = [str(PRLIMIT64[platform.machine()]), landlock.attributes(abi).hex()]
    for number, most in _rlimits(job.limits, in_cgroup=in_cgroup).items():
        fields += ["limit", str(number), str(most)]
    for rule in rules:
        fields += ["allow", rule.path, str(rule.on_folder), str(rule.on_file)]
    for name, value in {**_USUAL, **job.environment}.items():
        fields += ["variable", name, value]
    for argument in job.argv:
        fields += ["argument", argument]
    return os.fsencode("".join(f"{field}\0" for field in fields))


def check_report(report: bytes, job: Sandboxed, stderr: bytes) -> None:
    """Make sure that the program was started behind every layer.

    Raises:
        SandboxUnavailable: when bubblewrap or the launcher could not do its part.
        InvalidInput: when there is no such program to see in the sandbox.
    """
    ready, _, rest = report.partition(b"\0")
    if ready != b"ready":
        said = rest if ready == b"failed" else stderr
        reason = said.replace(b"\0", b": ").decode("utf-8", "replace").strip()[:300]
        raise SandboxUnavailable(
            f"The sandbox could not be made: {reason or 'it ended at once'}",
            hint="Run 'jarvis doctor' to see which layer this machine lacks.",
        )
    if rest.startswith(b"failed"):
        raise InvalidInput(
            f"{job.argv[0]} cannot be run in the sandbox: {rest.split(bytes(1))[-1].decode()}",
            hint="Name the program with its path, and the folder it lies in among those to read.",
        )


_USUAL = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}  # noqa: S108


def _rlimits(limits: Limits, *, in_cgroup: bool) -> dict[int, int]:
    import resource  # not on Windows, where this module is still imported

    each = {
        resource.RLIMIT_CPU: limits.cpu_seconds,
        resource.RLIMIT_FSIZE: limits.file,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_NPROC: limits.processes,
        resource.RLIMIT_CORE: _NO_DUMP,
        resource.RLIMIT_MEMLOCK: 64 * 1024,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if not in_cgroup:
        each[resource.RLIMIT_AS] = limits.memory
    return each
