"""What every probe may use; run before its source, inside the sandbox or outside."""
# ruff: noqa: E401, F401, I001, PTH123 - one line of modules, for whichever probe needs them

import ctypes, errno, fcntl, json, mmap, os, platform, pty, signal, socket, stat, struct, sys

W = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
ARM = platform.machine() == "aarch64"
NUMBERS = {
    "add_key": (248, 217), "keyctl": (250, 219), "bpf": (321, 280), "clone": (56, 220),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "ioctl": (16, 29), "pivot_root": (155, 41), "clone3": (435, 435), "socket": (41, 198),
    "process_vm_readv": (310, 270), "open_by_handle_at": (304, 265), "fsopen": (430, 430),
    "setns": (308, 268), "memfd_create": (319, 279),
}  # fmt: skip


def done(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def call(name, *arguments):
    words = [a if not isinstance(a, int) else ctypes.c_long(a) for a in arguments]
    return done(libc.syscall(ctypes.c_long(NUMBERS[name][ARM]), *words))


def read(path):
    with open(path, "rb") as file:
        return file.read(64)


def something(found):
    if not found:
        raise FileNotFoundError("nothing there")
    return found


def private():
    """Keep mounts of a control run from the rest of the machine; needs root."""
    if libc.unshare(0x00020000) == 0:
        libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None)


def main(attempt):
    try:
        found = attempt()
    except (OSError, LookupError) as error:
        print("HELD", type(error).__name__, error, flush=True)
    else:
        print("MANAGED", found, flush=True)
