"""Which layers are there, and the tables behind them."""

import ctypes
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from nebula.sandbox import cgroup, landlock, mounts, seccomp
from nebula.sandbox.layers import Machine, check_layers, judge
from nebula.sandbox.output import Kept

_WHOLE = Machine(
    system="linux", processor="x86_64", bwrap="/usr/bin/bwrap", perl="/usr/bin/perl",
    namespaces="", landlock=7, seccomp="", root=False, place=None,
)  # fmt: skip


@pytest.mark.sandbox
def test_this_machine_has_every_layer() -> None:
    """The tests prove nothing where one is missing; `make test` installs what can be installed."""
    assert [layer for layer in check_layers() if not layer.there] == []


@pytest.mark.parametrize(
    ("changed", "layer", "step"),
    [
        ({"system": "win32"}, "system", "needs Linux"),
        ({"processor": "riscv64"}, "system", "x86_64 or aarch64"),
        ({"bwrap": ""}, "bubblewrap", "apt install bubblewrap"),
        ({"namespaces": "No permissions"}, "namespaces", "namespaces"),
        ({"landlock": 0}, "landlock", "5.13"),
        ({"seccomp": "libseccomp is not installed"}, "seccomp", "apt install libseccomp2"),
        ({"perl": ""}, "launcher", "apt install perl-base"),
        ({"root": True}, "limits", "ordinary user"),
    ],
)
def test_a_missing_layer_names_what_to_install(
    changed: dict[str, object], layer: str, step: str
) -> None:
    judged = {each.name: each for each in judge(replace(_WHOLE, **changed))}
    assert not judged[layer].there and step in judged[layer].next_step


@pytest.mark.parametrize("name", ["launch.pl", "reach.pl"])
def test_what_runs_inside_compiles_without_a_warning(name: str) -> None:
    command = ["perl", "-Mstrict", "-Mwarnings=FATAL,all", "-c", str(mounts.OURS / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr.endswith("syntax OK\n"), done.stderr


def test_a_whole_machine_lacks_nothing() -> None:
    root = replace(_WHOLE, root=True, place=cgroup.Place(Path("/m"), Path("/p")))
    assert all(layer.there and not layer.next_step for layer in [*judge(_WHOLE), *judge(root)])


@pytest.mark.parametrize(
    ("abi", "size", "handled"),
    [(1, 8, 13), (2, 8, 14), (3, 8, 15), (4, 8, 15), (5, 8, 16), (7, 24, 16)],
)
def test_landlock_handles_what_each_version_knows(abi: int, size: int, handled: int) -> None:
    attributes = landlock.attributes(abi)
    assert len(attributes) == size
    assert int.from_bytes(attributes[:8], "little") == (1 << handled) - 1
    rule = landlock.writing("/x", abi)
    assert rule.on_folder < 1 << handled and not rule.on_folder & (1 << 6 | 1 << 11)
    assert not landlock.reading("/x", abi).on_folder & 0b10


def test_the_filter_is_the_same_list_on_both_processors() -> None:
    """libseccomp knows each call by name; what one processor lacks is older than the other."""
    library = ctypes.CDLL(seccomp.LIBRARY)
    missing = {}
    for processor, token in (("x86_64", 0xC000003E), ("aarch64", 0xC00000B7)):
        resolve = library.seccomp_syscall_resolve_name_arch
        numbers = {name: resolve(ctypes.c_uint32(token), name.encode()) for name in seccomp.REFUSED}
        assert -1 not in numbers.values()
        missing[processor] = {name for name, number in numbers.items() if number < 0}
    assert missing == {"x86_64": set(), "aarch64": {"iopl", "ioperm", "modify_ldt", "uselib"}}
    assert len(seccomp.program()) % 8 == 0


def _groups(folder: Path, lines: str) -> Path:
    own = folder / "own"
    own.write_text(lines)
    return own


def test_a_group_of_version_1_lies_below_our_own(tmp_path: Path) -> None:
    for controller in ("memory", "pids"):
        (tmp_path / controller / "svc").mkdir(parents=True)
    place = cgroup.find_place(tmp_path, _groups(tmp_path, "8:pids:/svc\n4:memory:/svc\n0::/\n"))
    assert place == cgroup.Place(tmp_path / "memory" / "svc", tmp_path / "pids" / "svc")


def test_a_group_of_version_2_lies_beside_our_own(tmp_path: Path) -> None:
    (tmp_path / "app" / "jarvis").mkdir(parents=True)
    own = _groups(tmp_path, "0::/app/jarvis\n")
    assert cgroup.find_place(tmp_path, own) is None
    (tmp_path / "app" / "cgroup.subtree_control").write_text("memory pids\n")
    place = cgroup.find_place(tmp_path, own)
    assert place == cgroup.Place(tmp_path / "app", tmp_path / "app") and place.unified


def test_no_group_where_there_are_none(tmp_path: Path) -> None:
    assert cgroup.find_place(tmp_path, tmp_path / "none") is None


def test_groups_of_processes_that_are_gone_are_swept(tmp_path: Path) -> None:
    (tmp_path / "nebula-sandbox-999999999-0").mkdir()
    (tmp_path / "nebula-sandbox-1-0").mkdir()
    cgroup.sweep(cgroup.Place(tmp_path, tmp_path))
    assert [folder.name for folder in tmp_path.iterdir()] == ["nebula-sandbox-1-0"]


@pytest.mark.parametrize(
    "pieces", [[b"abcdefghij"], [b"abc", b"defgh", b"ij"], [b"abcdefgh", b"ij"]]
)
def test_beginning_and_end_are_kept(pieces: list[bytes]) -> None:
    kept = Kept(6)
    for piece in pieces:
        kept.add(piece)
    assert (kept.all(), kept.cut) == (b"abchij", True)
    whole = Kept(10)
    for piece in pieces:
        whole.add(piece)
    assert (whole.all(), whole.cut) == (b"abcdefghij", False)
