"""How jobs end, what they print, and that nothing of them is left."""

import asyncio
import os
import platform
import secrets
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from nebula.errors import InvalidInput, SandboxUnavailable
from nebula.sandbox import running
from nebula.sandbox.job import Ended, Finished, Limits, Sandboxed
from nebula.sandbox.layers import examine
from nebula.sandbox.python import interpreter
from nebula.sandbox.run import run

pytestmark = pytest.mark.sandbox
_MIB = 1024**2


async def shell(script: str, **more: object) -> Finished:
    return await run(Sandboxed(("/bin/sh", "-c", script), **more))  # type: ignore[arg-type]


async def python(source: str, *, on_line: object = None, **more: object) -> Finished:
    found = interpreter()
    read = (*found.folders, *more.pop("read", ()))  # type: ignore[misc]
    job = Sandboxed((found.program, "-I", "-S", "-c", source), read=read, **more)  # type: ignore[arg-type]
    return await run(job, on_line=on_line)  # type: ignore[arg-type]


def processes(marker: str) -> list[int]:
    running = psutil.process_iter(["cmdline"])
    return [each.pid for each in running if marker in " ".join(each.info["cmdline"] or [])]


@pytest.fixture
def marker() -> str:
    return f"nebula-marker-{secrets.token_hex(6)}"


async def test_a_program_gets_its_arguments_input_and_variables_and_nothing_else() -> None:
    finished = await run(
        Sandboxed(("/bin/sh", "-c", 'cat; echo "$1"; env | sort', "sh", "a; b\n$c"),
                  environment={"ONE": "1 2\n3", "HOME": "/tmp/x"}, stdin=b"in\n")
    )  # fmt: skip
    assert finished.ok and finished.ended is Ended.EXITED and finished.signal is None
    variables = (
        "HOME=/tmp/x\nLANG=C.UTF-8\nONE=1 2\n3\nPATH=/usr/local/bin:/usr/bin:/bin\nPWD=/tmp\n"
    )
    assert sorted(finished.text.splitlines()) == sorted(("in\na; b\n$c\n" + variables).splitlines())


async def test_it_works_in_the_folder_it_may_write(tmp_path: Path) -> None:
    finished = await shell("pwd; echo made > made", folder=tmp_path, write=(tmp_path,))
    assert finished.text == f"{tmp_path}\n"
    assert (tmp_path / "made").read_text() == "made\n"
    assert (tmp_path / "made").stat().st_uid == os.getuid()


async def test_names_that_are_no_text_work(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"\xff \n odd")
    odd.mkdir()
    finished = await run(
        Sandboxed(("/bin/sh", "-c", 'touch "$1/$2"', "sh", str(odd), os.fsdecode(b"\xfe")),
                  folder=odd, write=(odd,))
    )  # fmt: skip
    assert finished.ok, finished.stderr
    assert [path.name for path in odd.iterdir()] == [os.fsdecode(b"\xfe")]


async def test_a_deeper_path_decides(tmp_path: Path) -> None:
    (tmp_path / "given" / "out").mkdir(parents=True)
    finished = await shell(
        "touch out/yes && ! touch no", folder=tmp_path / "given",
        read=(tmp_path / "given",), write=(tmp_path / "given" / "out",),
    )  # fmt: skip
    assert finished.ok, finished.stderr
    assert (tmp_path / "given" / "out" / "yes").exists()


async def test_its_own_loopback_works_for_tests_that_need_a_server() -> None:
    finished = await python(
        "import socket\nserver = socket.create_server(('127.0.0.1', 0))\n"
        "client = socket.create_connection(server.getsockname())\n"
        "server.accept()[0].send(b'hello')\nprint(client.recv(9))"
    )
    assert finished.text == "b'hello'\n", finished.stderr


async def test_with_the_network_it_reaches_what_this_machine_reaches() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    source = f"import socket\nprint(socket.create_connection(('127.0.0.1', {port}), 5).recv(9))"
    async with server:
        assert (await python(source, network=True)).text == "b'hello'\n"
        assert "refused" in (await python(source)).stderr.decode()


@pytest.mark.parametrize(
    ("script", "ended", "code"),
    [("exit 7", Ended.EXITED, 7), ("kill -9 $$", Ended.KILLED, 137), ("kill -6 $$", Ended.KILLED, 134)],
)  # fmt: skip
async def test_the_exit_code_is_told_as_by_a_shell(script: str, ended: Ended, code: int) -> None:
    finished = await shell(script)
    assert (finished.ended, finished.exit_code, finished.ok) == (ended, code, False)
    assert finished.signal == (code - 128 if ended is Ended.KILLED else None)


async def test_what_takes_too_long_is_ended_with_its_children(marker: str) -> None:
    finished = await shell(
        f"echo begun; (setsid sh -c 'sleep 1000 # {marker}') & sh -c 'sleep 1000 # {marker}'",
        limits=Limits(seconds=0.5),
    )
    assert (finished.ended, finished.text) == (Ended.TIMED_OUT, "begun\n")
    assert finished.signal == signal.SIGKILL
    assert not processes(marker)


async def test_no_time_at_all_is_a_time_out() -> None:
    finished = await shell("echo ran", limits=Limits(seconds=0.0))
    assert finished.ended is Ended.TIMED_OUT


async def test_a_daemon_does_not_outlive_its_job(marker: str) -> None:
    finished = await python(f"""
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    for number in range(3):
        os.close(number)
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", "import time; time.sleep(1000)", "{marker}"])
time.sleep(0.3)
found = [p for p in os.listdir("/proc") if p.isdigit() and b"{marker}" in open(f"/proc/{{p}}/cmdline", "rb").read()]
print(len(found))
""")
    assert finished.text.strip() in {"2", "3"}, finished.stderr  # itself, and the daemon
    assert not processes(marker)


async def test_cancelling_ends_everything(marker: str) -> None:
    begun = asyncio.Event()

    async def told(_: str) -> None:
        begun.set()

    job = Sandboxed(("/bin/sh", "-c", f"echo begun; sh -c 'sleep 1000 # {marker}'; true"))
    task = asyncio.create_task(run(job, on_line=told))
    await asyncio.wait_for(begun.wait(), 60)
    assert processes(marker)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not processes(marker)


@pytest.mark.parametrize("turns", [*range(1, 12), 20, 40])
async def test_cancelling_at_any_moment_leaves_nothing(marker: str, turns: int) -> None:
    place = examine().place
    job = Sandboxed(("/bin/sh", "-c", f"sleep 1000 # {marker}"))
    task = asyncio.create_task(run(job))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not processes(marker)
    assert not place or not list(place.pids.glob(f"nebula-sandbox-{os.getpid()}-*"))


async def test_a_job_ends_with_the_process_that_started_it(marker: str) -> None:
    source = f"""
import asyncio
from nebula.sandbox.job import Sandboxed
from nebula.sandbox.run import run
async def told(line):
    print(line, flush=True)
job = Sandboxed(("/bin/sh", "-c", "echo begun; sh -c 'sleep 1000 # {marker}'; true"))
asyncio.run(run(job, on_line=told))
"""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    assert parent.stdout is not None
    assert await asyncio.wait_for(parent.stdout.readline(), 60) == b"begun\n"
    children = [psutil.Process(pid) for pid in processes(marker)]
    parent.kill()
    await parent.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, 60)
    assert children and not alive


async def test_nothing_runs_on_when_its_starter_is_killed_at_any_moment(marker: str) -> None:
    source = f"""
import asyncio
from nebula.sandbox.job import Sandboxed
from nebula.sandbox.layers import examine
from nebula.sandbox.run import run
examine()
print("begun", flush=True)
asyncio.run(run(Sandboxed(("/bin/sh", "-c", "sleep 1000 # {marker}"))))
"""
    for milliseconds in range(0, 30, 6):
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", source, stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[3],
        )  # fmt: skip
        assert parent.stdout is not None
        assert await parent.stdout.readline() == b"begun\n"
        await asyncio.sleep(milliseconds / 1000)
        parent.kill()
        await parent.wait()
    left = [p for p in psutil.process_iter(["name"]) if p.info["name"] == "bwrap"]
    await asyncio.to_thread(psutil.wait_procs, left, 0.5)
    running.sweep()
    await asyncio.to_thread(psutil.wait_procs, left, 5)
    assert not processes(marker)
    assert not [p for p in left if p.is_running() and p.ppid() == 1]


async def test_nothing_is_left_of_many_jobs_at_once() -> None:
    place = examine().place
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    done = await asyncio.gather(*(shell(f"exit {number}") for number in range(8)))
    assert [finished.exit_code for finished in done] == list(range(8))
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    if place:
        assert not list(place.pids.glob(f"nebula-sandbox-{os.getpid()}-*"))


async def test_memory_of_all_processes_together_is_bounded() -> None:
    source = "import time\nheld = bytearray(300 * 1024**2)\nprint('managed')"
    finished = await python(source, limits=Limits(memory=128 * _MIB))
    assert "managed" not in finished.text
    if examine().place:
        assert finished.ended is Ended.OUT_OF_MEMORY
    else:
        assert b"MemoryError" in finished.stderr
    assert (await python(source, limits=Limits(memory=900 * _MIB))).text == "managed\n"


async def test_a_folder_that_grows_too_much_ends_its_job(tmp_path: Path) -> None:
    script = "for n in 1 2 3 4 5 6 7 8; do head -c 2000000 /dev/urandom > $n; done; sleep 1000"
    limits = Limits(growth=8 * _MIB)
    finished = await shell(script, folder=tmp_path, write=(tmp_path,), limits=limits)
    assert finished.ended is Ended.OUT_OF_DISK


async def test_processor_time_is_bounded() -> None:
    finished = await shell("while :; do :; done", limits=Limits(cpu_seconds=1))
    assert finished.ended is Ended.KILLED and finished.signal in {signal.SIGXCPU, signal.SIGKILL}


async def test_a_flood_of_output_is_cut_in_its_middle() -> None:
    lines: list[str] = []

    async def told(line: str) -> None:
        lines.append(line)

    job = Sandboxed(("/bin/sh", "-c", "echo first; yes x | head -n 9000000; echo last"),
                    limits=Limits(output=4096))  # fmt: skip
    finished = await run(job, on_line=told)
    assert finished.ok and finished.output_cut
    assert len(finished.stdout) == 4096
    assert finished.stdout.startswith(b"first\nx\n") and finished.stdout.endswith(b"x\nlast\n")
    assert len(lines) < 100_000


async def test_lines_come_while_it_runs() -> None:
    lines: list[str] = []
    first = asyncio.Event()

    async def told(line: str) -> None:
        lines.append(line)
        first.set()

    job = Sandboxed(
        ("/bin/sh", "-c", "echo one; echo two >&2; sleep 1000"), limits=Limits(seconds=20)
    )
    task = asyncio.create_task(run(job, on_line=told))
    await asyncio.wait_for(first.wait(), 60)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert lines[0] in {"one", "two"}


async def test_a_listener_that_fails_ends_the_job(marker: str) -> None:
    async def told(_: str) -> None:
        raise LookupError("no log")

    job = Sandboxed(("/bin/sh", "-c", f"echo one; sh -c 'sleep 1000 # {marker}'; true"))
    with pytest.raises(LookupError, match="no log"):
        await run(job, on_line=told)
    assert not processes(marker)


async def test_a_crash_leaves_no_core_file(tmp_path: Path) -> None:
    finished = await python("import os; os.abort()", folder=tmp_path, write=(tmp_path,))
    assert finished.signal == signal.SIGABRT
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("job", "told"),
    [
        (Sandboxed(()), "needs a program"),
        (Sandboxed(("/bin/true", "a\0b")), "forbidden sign"),
        (Sandboxed(("/bin/true", "\ud800")), "forbidden sign"),
        (Sandboxed(("/bin/true",), environment={"A=B": "c"}), "forbidden sign"),
        (Sandboxed(("/bin/true",), read=(Path("/proc/1"),)), "never shown"),
        (Sandboxed(("/bin/true",), read=(Path("/run/docker.sock"),)), "never shown"),
        (Sandboxed(("/bin/true",), write=(Path("/"),)), "never shown"),
        (Sandboxed(("/bin/true",), read=(Path("/nowhere"),)), "cannot be shown"),
        (Sandboxed(("/bin/true",), read=(Path("relative"),)), "cannot be shown"),
        (Sandboxed(("/bin/true",), folder=Path("/srv")), "cannot work in"),
        (Sandboxed(("/opt/none",)), "No such file"),
        (Sandboxed(("/etc/passwd",)), "Permission denied"),
    ],
)
async def test_a_job_that_cannot_be_run_says_why(job: Sandboxed, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        await run(job)


async def test_a_link_is_not_followed_to_what_it_shows(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/")
    with pytest.raises(InvalidInput, match="it is a link"):
        await run(Sandboxed(("/bin/true",), read=(tmp_path / "link",)))


async def test_secrets_in_arguments_and_variables_are_not_to_be_seen_from_outside() -> None:
    secret = secrets.token_hex(8)
    begun = asyncio.Event()

    async def told(_: str) -> None:
        begun.set()

    job = Sandboxed(("/bin/sh", "-c", "echo begun; exec sleep 1000"), environment={"KEY": secret})
    task = asyncio.create_task(run(job, on_line=told))
    await asyncio.wait_for(begun.wait(), 60)
    seen = processes(secret)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not seen


async def test_where_a_layer_is_missing_nothing_runs(tmp_path: Path) -> None:
    """Inside a sandbox the kernel refuses new namespaces: a machine without that layer."""
    root = Path(__file__).parents[3]
    packages = Path(psutil.__file__).resolve().parents[1]
    source = f"""
import sys
sys.path[:0] = [{str(root)!r}, {str(packages)!r}]
import asyncio
from nebula.errors import SandboxUnavailable
from nebula.sandbox.job import Sandboxed
from nebula.sandbox.run import run
try:
    asyncio.run(run(Sandboxed(("/bin/sh", "-c", "echo ran > {tmp_path}/ran"), write=())))
except SandboxUnavailable as error:
    print("refused:", error, "|", error.hint)
"""
    finished = await python(
        source, read=(root, packages), write=(tmp_path,),
        environment={"PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert finished.text.startswith("refused: Nothing is run without the whole sandbox"), (
        finished.stderr
    )
    assert "namespaces" in finished.text
    assert not (tmp_path / "ran").exists()


async def test_a_broken_start_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nebula.sandbox.mounts.LAUNCHER", "/run/sandbox/none.pl")
    with pytest.raises(SandboxUnavailable, match="could not be made"):
        await shell("echo ran")


@pytest.mark.parametrize("words", [("0x40000027",)] if platform.machine() == "x86_64" else [])
async def test_calls_of_another_architecture_kill(words: tuple[str]) -> None:
    finished = await python(f"import ctypes; print(ctypes.CDLL(None).syscall({words[0]}))")
    assert finished.signal == signal.SIGSYS


def _int80() -> str:
    # mov eax, 20 (getpid of i386); int 0x80; ret
    return (
        "import ctypes, mmap\n"
        "m = mmap.mmap(-1, 4096, prot=7)\nm.write(bytes.fromhex('b814000000cd80c3'))\n"
        "address = ctypes.addressof(ctypes.c_char.from_buffer(m))\n"
        "print(ctypes.CFUNCTYPE(ctypes.c_int)(address)())"
    )


@pytest.mark.parametrize("source", [_int80] if platform.machine() == "x86_64" else [])
async def test_calls_in_32_bits_kill(source: Callable[[], str]) -> None:
    finished = await python(source())
    assert finished.signal == signal.SIGSYS, finished.text
