"""The seccomp filter: system calls that no job needs and that kernels were broken through.

libseccomp writes the program, so that numbers and checks are right on every machine.
"""

import ctypes
import errno
import os
from functools import cache

from nebula.errors import SandboxUnavailable

LIBRARY = "libseccomp.so.2"

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_BAD_ARCHITECTURE, _OPTIMIZE = 2, 8
_MASKED_EQUAL = 7
_INT = 0xFFFFFFFF
"""The kernel reads 32 bits of such an argument: the rest must not hide it from the filter."""

REFUSED = (
    "add_key", "keyctl", "request_key", "bpf", "perf_event_open", "userfaultfd", "ptrace",
    "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "mount", "umount2",
    "pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick",
    "mount_setattr", "unshare", "setns", "name_to_handle_at", "open_by_handle_at", "kexec_load",
    "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot", "swapon",
    "swapoff", "acct", "quotactl", "quotactl_fd", "syslog", "vhangup", "iopl", "ioperm",
    "modify_ldt", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname",
    "setdomainname", "fanotify_init", "lookup_dcookie", "nfsservctl", "uselib", "personality",
    "move_pages", "migrate_pages",
)  # fmt: skip
_UNKNOWN = ("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register")
"""Answered as by a kernel without them, so that programs use what can be checked instead."""
_NEW_NAMESPACES = (
    0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
"""The CLONE_NEW* flags."""
_TERMINAL_INJECTION = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX, which type into the terminal of whoever started the job."""
_FAMILIES = frozenset({1, 2, 10, 16})
"""AF_UNIX, AF_INET, AF_INET6, AF_NETLINK; vsock, for one, knows no network namespace."""


class _Compare(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("mask", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
    )


@cache
def program() -> bytes:
    """Return the filter as the kernel loads it.

    Raises:
        SandboxUnavailable: when libseccomp is not installed or too old.
    """
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise SandboxUnavailable(
            "libseccomp is not installed", hint="Install it: apt install libseccomp2"
        ) from error
    library.seccomp_init.restype = ctypes.c_void_p
    state = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_ALLOW)))
    try:
        _done(library.seccomp_attr_set(state, _BAD_ARCHITECTURE, ctypes.c_uint32(_KILL)))
        library.seccomp_attr_set(state, _OPTIMIZE, ctypes.c_uint32(2))  # not in old versions
        _add_rules(library, state)
        return _export(library, state)
    finally:
        library.seccomp_release(state)


def _add_rules(library: ctypes.CDLL, state: ctypes.c_void_p) -> None:
    def refuse(name: str, error: int, *compare: tuple[int, int, int]) -> None:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == -1:
            raise SandboxUnavailable(
                f"libseccomp does not know {name}", hint="Install version 2.5.4 or newer of it."
            )
        if number < 0:
            return  # this machine has no such call
        tests = [_Compare(which, _MASKED_EQUAL, mask, value) for which, mask, value in compare]
        array = (_Compare * len(tests))(*tests)
        action = ctypes.c_uint32(_ERRNO | error)
        _done(library.seccomp_rule_add_array(state, action, number, len(tests), array))

    for name in REFUSED:
        refuse(name, errno.EPERM)
    for name in _UNKNOWN:
        refuse(name, errno.ENOSYS)
    for flag in _NEW_NAMESPACES:
        refuse("clone", errno.EPERM, (0, flag, flag))
    for request in _TERMINAL_INJECTION:
        refuse("ioctl", errno.EPERM, (1, _INT, request))
    for family in range(64):
        if family not in _FAMILIES:
            refuse("socket", errno.EAFNOSUPPORT, (0, _INT, family))


def _export(library: ctypes.CDLL, state: ctypes.c_void_p) -> bytes:
    descriptor = os.memfd_create("seccomp")
    try:
        _done(library.seccomp_export_bpf(state, descriptor))
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    finally:
        os.close(descriptor)


def _done(status: int) -> None:
    if status < 0:
        raise SandboxUnavailable(f"libseccomp refused a rule: {os.strerror(-status)}")
