"""Landlock: which rights this kernel can restrict, and which a job keeps.

Numbers are those of the kernel's `include/uapi/linux/landlock.h`.
"""

import ctypes
from dataclasses import dataclass

_CREATE_RULESET = 444
"""The same on every machine, as all system calls since Linux 5.1."""
_VERSION = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_RIGHTS_SINCE = {1: 13, 2: 14, 3: 15, 5: 16}
"""Interface version → how many rights on files it knows; their bits are numbered from 0."""
_SCOPES_SINCE = 6
_ABSTRACT_SOCKETS, _SIGNALS = 1 << 0, 1 << 1

_READ = _EXECUTE | _READ_FILE | _READ_DIR
_WRITE = ((1 << 16) - 1) & ~(_MAKE_CHAR | _MAKE_BLOCK | _IOCTL_DEVICE)
_DEVICES = _READ | _WRITE_FILE | _IOCTL_DEVICE


@dataclass(frozen=True)
class Rule:
    """What stays allowed below one path."""

    path: str
    on_folder: int
    on_file: int


def version() -> int:
    """Return the version of Landlock's interface that this kernel speaks, 0 without Landlock."""
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)))


def attributes(abi: int) -> bytes:
    """Return the `landlock_ruleset_attr` that restricts all this version can.

    TCP is left out: without a network of its own a job has no other machine to reach, and with one
    its own loopback is for its tests to use.
    """
    handled = _handled(abi).to_bytes(8, "little")
    if abi < _SCOPES_SINCE:
        return handled
    return handled + bytes(8) + (_ABSTRACT_SOCKETS | _SIGNALS).to_bytes(8, "little")


def reading(path: str, abi: int) -> Rule:
    """Allow reading and running what is below a path."""
    return _rule(path, _READ, abi)


def writing(path: str, abi: int) -> Rule:
    """Allow changing what is below a path, all but making devices."""
    return _rule(path, _WRITE, abi)


def devices(path: str, abi: int) -> Rule:
    """Allow using the devices below a path."""
    return _rule(path, _DEVICES, abi)


def _rule(path: str, rights: int, abi: int) -> Rule:
    rights &= _handled(abi)
    return Rule(path, rights, rights & _ON_FILES)


def _handled(abi: int) -> int:
    bits = max(count for since, count in _RIGHTS_SINCE.items() if since <= abi)
    return (1 << bits) - 1
