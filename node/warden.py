"""Stands between the agent and one program: python -m node.warden, told on its standard input.

It ends the program, and all that the program started, when it is told to, when the program's
lease is over, and when the agent is gone. So no work outlives its lease, even while the agent is
killed or stopped. Standard library only: it starts in some hundredths of a second.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from node import process
from node.clock import now
from node.ring import RingWriter

_LOOK_SECONDS = 0.1
_SETTLE_SECONDS = 2.0


class Warden:
    """One program, from its start until nothing of it is left."""

    def __init__(self, spec: dict[str, Any]) -> None:
        """Take what to run and until when (`until`, on the shared clock; None = no limit)."""
        self._spec = spec
        self._until: float | None = spec.get("until")
        self._why = ""
        self._changed = threading.Condition()
        self._over = False
        self._child: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Start the program, watch it, and write how it ended."""
        process.adopt_orphans()
        # The agent decides when we end: a signal meant for its own group must not.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        log = RingWriter(Path(self._spec["log"]))
        try:
            self._child = self._start()
        except (OSError, ValueError) as error:
            log.write(f"cannot start: {error}\n".encode())
            self._ended(None, "unstartable", str(error))
            return
        pid = self._child.pid
        _tell({"pid": pid, "started": process.started_at(pid)})
        for work in (self._listen, self._wait):
            threading.Thread(target=work, daemon=True).start()
        pump = threading.Thread(target=_pump, args=(self._child.stdout, log), daemon=True)
        pump.start()
        self._watch()
        self._sweep()
        pump.join(_SETTLE_SECONDS)
        self._ended(self._child.wait(), self._why or "exited", "")

    def _start(self) -> "subprocess.Popen[bytes]":
        if self._until is not None and now() >= self._until:
            raise ValueError("the lease was over before the start")
        return subprocess.Popen(
            self._spec["argv"],
            cwd=self._spec.get("cwd"),
            env=self._spec.get("env"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **process.options(),
        )

    def _listen(self) -> None:
        """Hear the agent: `until SECONDS`, `kill`; the end of the line means that it is gone."""
        for line in sys.stdin:
            word, _, rest = line.strip().partition(" ")
            with self._changed:
                if word == "until":
                    self._until = float(rest) if rest else None
                elif word == "kill":
                    self._why = self._why or "killed"
                self._changed.notify()
        with self._changed:
            self._why = self._why or "orphaned"
            self._changed.notify()

    def _wait(self) -> None:
        assert self._child is not None
        self._child.wait()
        with self._changed:
            self._over = True
            self._changed.notify()

    def _watch(self) -> None:
        """Return when the program ended or has to end."""
        with self._changed:
            while not (self._over or self._why):
                if self._until is not None and now() >= self._until:
                    self._why = "fenced"
                    return
                left = None if self._until is None else self._until - now()
                # The wait's own clock stops when the machine sleeps; ours does not.
                self._changed.wait(None if left is None else min(max(left, 0.0), _LOOK_SECONDS))

    def _sweep(self) -> None:
        """End the group, gently first unless the lease is over; return when nothing is left."""
        assert self._child is not None
        pid = self._child.pid
        patience = time.monotonic() + float(self._spec.get("grace", 3.0))
        if self._why in {"killed", "orphaned"} and not self._over:
            process.end(pid, hard=False)
            while time.monotonic() < patience and not self._over and not self._lapsed():
                time.sleep(0.02)
        while True:
            process.end(pid, hard=True)
            left = process.descendants(os.getpid())
            for straggler in left:
                with contextlib.suppress(OSError):
                    os.kill(straggler, getattr(signal, "SIGKILL", signal.SIGTERM))
            _reap(pid)
            if self._over and not left:
                return
            time.sleep(0.02)

    def _lapsed(self) -> bool:
        return self._until is not None and now() >= self._until

    def _ended(self, code: int | None, why: str, detail: str) -> None:
        """Write how it ended, whole or not at all."""
        file = Path(self._spec["exit"])
        draft = file.with_suffix(".draft")
        with draft.open("w") as out:
            json.dump({"code": code, "why": why, "detail": detail, "at": time.time()}, out)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)


def _reap(child: int) -> None:
    """Bury the orphans that we adopted; the child itself belongs to its own waiter."""
    if not hasattr(os, "waitid"):
        return
    with contextlib.suppress(ChildProcessError):
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while (seen := os.waitid(os.P_ALL, 0, flags)) is not None and seen.si_pid != child:
            os.waitpid(seen.si_pid, os.WNOHANG)


def _pump(source: Any, log: RingWriter) -> None:
    while data := os.read(source.fileno(), 65536):
        log.write(data)


def _tell(document: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(document) + "\n")
        sys.stdout.flush()


def main() -> None:
    """Read what to run from the first line, and run it."""
    Warden(json.loads(sys.stdin.readline())).run()
    # A thread still waits at the standard input, and a tidy end would wait for it.
    os._exit(0)


if __name__ == "__main__":
    main()
