"""Runs one job in the sandbox: namespaces, Landlock, seccomp, limits, an empty environment.

There is no way to leave a layer out: where one is missing nothing runs.
"""

import asyncio
import os
import time
from asyncio.subprocess import Process
from collections.abc import Coroutine
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path

from nebula.sandbox import cgroup, launch, mounts, seccomp
from nebula.sandbox.cgroup import Group
from nebula.sandbox.disk import outgrown
from nebula.sandbox.job import Ended, Finished, Sandboxed, check
from nebula.sandbox.layers import Machine, required
from nebula.sandbox.output import Kept, OnLine, keep
from nebula.sandbox.reach import served
from nebula.sandbox.running import OWNER, Running

_DYING_SECONDS = 10.0


async def run(job: Sandboxed, *, on_line: OnLine | None = None) -> Finished:
    """Run a job to its end; `on_line` gets what it prints, line by line, as it comes.

    However it ends, also when this is cancelled, none of its processes is left.

    Raises:
        SandboxUnavailable: when this machine lacks a layer; says what to install.
        InvalidInput: when the job is malformed or its program is not to be seen inside.
    """
    check(job)
    machine = await required()
    stdout, stderr = Kept(job.limits.output), Kept(job.limits.output)
    async with AsyncExitStack() as held:
        place = machine.place
        group = held.enter_context(cgroup.group(place, job.limits)) if place else None
        way_out = await held.enter_async_context(served(job.reach)) if job.reach else None
        report, reporting = _pipe(held)
        told, telling = _pipe(held)
        started = time.monotonic()
        running = await _started(_start(job, machine, group, way_out, (reporting, telling)), told)
        ended = await _follow(running, job, (stdout, stderr), on_line)
        seconds = time.monotonic() - started
        if group and group.killed_for_memory():
            ended = Ended.OUT_OF_MEMORY
        if ended is Ended.EXITED:
            launch.check_report(os.read(report, 4096), job, stderr.all())
    code = _as_shell(running.process.returncode or 0)
    if ended is Ended.EXITED and code > 128:
        ended = Ended.KILLED
    cut = stdout.cut or stderr.cut
    return Finished(ended, code, stdout.all(), stderr.all(), output_cut=cut, seconds=seconds)


async def _started(start: Coroutine[None, None, Process], told: int) -> Running:
    """Start a job; a cancel meanwhile waits for its process, or there would be none to end."""
    starting = asyncio.create_task(start)
    try:
        return Running(await asyncio.shield(starting), told)
    except asyncio.CancelledError:
        process = await starting
        reading = asyncio.create_task(process.communicate())
        await Running(process, told).end()
        await reading
        raise


async def _start(
    job: Sandboxed,
    machine: Machine,
    group: Group | None,
    way_out: Path | None,
    pipes: tuple[int, int],
) -> Process:
    with ExitStack() as ours:
        for end in pipes:
            ours.callback(os.close, end)
        rules = mounts.rules(job, machine.landlock)
        record = launch.record(job, rules, machine.landlock, in_cgroup=group is not None)
        # Through descriptors and not as arguments: everybody on this machine can read those.
        reporting, telling = pipes
        doors = [_opened(door, ours) for door in group.doors] if group else []
        filtering, recorded = _filled(seccomp.program(), ours), _filled(record, ours)
        options = [
            *mounts.bubblewrap(job, way_out),
            "--seccomp",
            str(filtering),
            "--info-fd",
            str(telling),
        ]
        arguments = _filled(os.fsencode("".join(f"{word}\0" for word in options)), ours)
        told = (recorded, reporting, f"{OWNER}{os.getpid()}", *doors)
        return await asyncio.create_subprocess_exec(
            machine.bwrap, "--args", str(arguments), "--",
            machine.perl, mounts.LAUNCHER, *map(str, told),
            stdin=asyncio.subprocess.PIPE if job.stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            pass_fds=(arguments, filtering, recorded, *pipes, *doors), env={}, cwd="/",
        )  # fmt: skip


def _pipe(held: AsyncExitStack) -> tuple[int, int]:
    """Return a pipe's ends; reading never waits, and that end is closed with the block."""
    reading, writing = os.pipe()
    held.callback(os.close, reading)
    os.set_blocking(reading, False)
    return reading, writing


def _opened(file: os.PathLike[str], held: ExitStack) -> int:
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    held.callback(os.close, descriptor)
    return descriptor


def _filled(content: bytes, held: ExitStack) -> int:
    descriptor = os.memfd_create("sandbox")
    held.callback(os.close, descriptor)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


async def _follow(
    running: Running, job: Sandboxed, kept: tuple[Kept, Kept], on_line: OnLine | None
) -> Ended:
    """Go along with a process until it ends or must end; say why it did."""
    work = asyncio.create_task(_served(running.process, job.stdin, kept, on_line))
    watch = asyncio.create_task(outgrown(job.write, job.limits.growth))
    try:
        done, _ = await asyncio.wait(
            {work, watch}, timeout=job.limits.seconds, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        watch.cancel()
        await running.end()
        # Its pipes are closed now; only a stuck `on_line` can keep this waiting.
        await asyncio.wait({work}, timeout=_DYING_SECONDS)
        work.cancel()
        await asyncio.gather(work, watch, return_exceptions=True)
    if work in done:
        work.result()
        return Ended.EXITED
    if watch in done:
        watch.result()
        return Ended.OUT_OF_DISK
    return Ended.TIMED_OUT


async def _served(
    process: Process,
    stdin: bytes,
    kept: tuple[Kept, Kept],
    on_line: OnLine | None,
) -> None:
    assert process.stdout is not None and process.stderr is not None
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keep(process.stdout, kept[0], on_line))
            tasks.create_task(keep(process.stderr, kept[1], on_line))
            if process.stdin is not None:
                tasks.create_task(_feed(process.stdin, stdin))
            tasks.create_task(process.wait())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures


async def _feed(pipe: asyncio.StreamWriter, content: bytes) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):
        pipe.write(content)
        await pipe.drain()
    pipe.close()


def _as_shell(code: int) -> int:
    return code if code >= 0 else 128 - code
