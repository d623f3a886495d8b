"""What a job sees: bubblewrap's options, and the same once more as Landlock's rules."""

from collections.abc import Sequence
from pathlib import Path

from nebula.sandbox import landlock, reach
from nebula.sandbox.job import SCRATCH, Sandboxed
from nebula.sandbox.landlock import Rule

OURS = Path(__file__).with_name("inside")
_SHOWN_AT = "/run/sandbox"
_OUR_ETC = ("passwd", "group", "hosts", "nsswitch.conf")
_HOST_ETC = ("ld.so.cache", "alternatives")
_CERTIFICATES = ("ssl", "ca-certificates", "pki")
_NETWORK_ETC = ("resolv.conf", *_CERTIFICATES, "gai.conf", "services", "protocols")
_ALIASES = tuple(map(Path, ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")))
LAUNCHER = f"{_SHOWN_AT}/launch.pl"


def bubblewrap(job: Sandboxed, way_out: Path | None = None) -> list[str]:
    """Return bubblewrap's options for a job; `way_out` is the folder that `reach.served` made."""
    options = [
        "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try",
        *([] if job.network else ["--unshare-net"]),
        "--uid", "1000", "--gid", "1000", "--hostname", "sandbox",
        "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL",
    ]  # fmt: skip
    options += ["--ro-bind", "/usr", "/usr", *_aliases(), *_etc(job)]
    options += ["--ro-bind", str(OURS), _SHOWN_AT, "--proc", "/proc", "--dev", "/dev"]
    for scratch in (str(SCRATCH), "/dev/shm"):  # noqa: S108
        options += ["--perms", "1777", "--size", str(job.limits.scratch), "--tmpfs", scratch]
    if way_out:
        options += ["--ro-bind", str(way_out), reach.FOLDER]
    options += _paths(job)
    # What bubblewrap made to mount on is writable, and unbounded, until now.
    # /proc too: where Jarvis is root, settings of the kernel below it are a job's own files.
    for made in ("/dev", "/proc", "/"):
        options += ["--remount-ro", made]
    options += ["--chdir", str(job.folder)]
    return options


def rules(job: Sandboxed, abi: int) -> list[Rule]:
    """Return what Landlock lets a job do, the mounts' rules once more."""
    read = [
        "/usr",
        "/etc",
        "/proc",
        _SHOWN_AT,
        *(str(alias) for alias in _ALIASES if _is_folder(alias)),
    ]
    write = [str(SCRATCH), "/dev/shm"]  # noqa: S108
    return [
        *(landlock.reading(path, abi) for path in (*read, *map(str, job.read))),
        *(landlock.writing(path, abi) for path in (*write, *map(str, job.write))),
        landlock.devices("/dev", abi),
    ]


def _aliases() -> list[str]:
    """Show /bin, /lib and the like as this system has them: links into /usr, or folders."""
    options = []
    for path in _ALIASES:
        if path.is_symlink():
            options += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            options += ["--ro-bind", str(path), str(path)]
    return options


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _etc(job: Sandboxed) -> list[str]:
    """Show our own files and what programs need of the system's; each mount costs a start 0.1 ms."""
    options = []
    for name in _OUR_ETC:
        options += ["--symlink", f"{_SHOWN_AT}/{name}", f"/etc/{name}"]
    further = _NETWORK_ETC if job.network else _CERTIFICATES if job.reach else ()
    for name in (*_HOST_ETC, *further):
        if Path("/etc", name).exists():
            options += ["--ro-bind", f"/etc/{name}", f"/etc/{name}"]
    return options


def _paths(job: Sandboxed) -> list[str]:
    """Mount what the job was given, outer folders before those within them."""
    mounts: list[tuple[int, Path, Sequence[str]]] = []
    mounts += [(0, path, ("--ro-bind", str(path))) for path in job.read]
    mounts += [(0, path, ("--bind", str(path))) for path in job.write]
    mounts += [(1, path, _nothing(path)) for path in job.hide]
    mounts.sort(key=lambda mount: (mount[0], len(mount[1].parts)))
    return [word for _, path, options in mounts for word in (*options, str(path))]


def _nothing(path: Path) -> Sequence[str]:
    if path.is_dir():
        return ("--size", "4096", "--perms", "555", "--tmpfs")
    return ("--ro-bind", str(OURS / "empty"))
