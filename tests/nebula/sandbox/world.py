"""Things outside the sandbox that a probe would love to reach, all real."""

import ctypes
import json
import os
import secrets
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nebula.sandbox.job import Limits, Sandboxed
from nebula.sandbox.python import interpreter
from tests.nebula.sandbox.probes import Probe


@dataclass(frozen=True)
class World:
    """Where everything is; `told` is what a probe knows."""

    told: dict[str, Any]
    victim: subprocess.Popen[bytes]

    def path(self, name: str) -> Path:
        """Return one of the folders."""
        return Path(self.told[name])

    def job(self, probe: Probe, limits: Limits) -> Sandboxed:
        """Return a probe as a job."""
        python = interpreter()
        work = self.path("work")
        return Sandboxed(
            (python.program, "-I", "-S", "-c", probe.source, json.dumps(self.told)),
            folder=work,
            read=(*python.folders, self.path("given"), work / "kept"),
            write=(work,),
            hide=(work / ".env", work / "private"),
            network=probe.network,
            limits=limits,
        )

    def outside(self, probe: Probe) -> str:
        """Make the same attempt without the sandbox; return what it says."""
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", probe.source, json.dumps(self.told)],
            capture_output=True, text=True, timeout=30, check=False, cwd=self.path("work"),
            pass_fds=(self.told["descriptor"],),
            env={**os.environ, "NEBULA_CANARY": "canary", "LD_LIBRARY_PATH": "/nebula-canary"},
        )  # fmt: skip
        return done.stdout + done.stderr


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Make it all, and clear it away."""
    marker = f"nebula-canary-{secrets.token_hex(6)}"
    told: dict[str, Any] = {"marker": marker, "hostname": socket.gethostname()}
    with ExitStack() as held:
        told |= _folders(folder)
        victim = held.enter_context(
            subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", "input()", marker], stdin=subprocess.PIPE
            )
        )
        held.callback(victim.kill)
        told["victim"] = victim.pid
        descriptor = os.open(folder / "outside" / "secret", os.O_RDONLY)
        held.callback(os.close, descriptor)
        os.set_inheritable(descriptor, True)
        told["descriptor"] = descriptor
        told |= _sockets(held, folder, marker)
        told |= _memory(held, marker)
        yield World(told, victim)


def _folders(folder: Path) -> dict[str, str]:
    files = {
        "home/.ssh/id_ed25519": "canary", "home/jarvis/secrets.key": "canary",
        "outside/secret": "canary", "outside/.env": "KEY=canary", "given/file": "given",
        "work/.env": "KEY=canary", "work/private/key": "canary", "work/kept/file": "kept",
    }  # fmt: skip
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return {name: str(folder / name) for name in ("home", "outside", "given", "work")}


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        if isinstance(self.request, tuple):
            self.request[1].sendto(self.request[0], self.client_address)


def _sockets(held: ExitStack, folder: Path, marker: str) -> dict[str, Any]:
    tcp = socketserver.TCPServer(("127.0.0.1", 0), _Echo)
    udp = socketserver.UDPServer(("127.0.0.1", 0), _Echo)
    for server in (tcp, udp):
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        held.callback(server.server_close)
        held.callback(thread.join)
        held.callback(server.shutdown)
    database = str(folder / "outside" / ".s.PGSQL.5432")
    for address in ("\0" + marker, database):
        listener = held.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(address)
        listener.listen(64)
    return {
        "tcp": tcp.server_address[1],
        "udp": udp.server_address[1],
        "abstract": marker,
        "database": database,
    }


def _memory(held: ExitStack, marker: str) -> dict[str, Any]:
    """Make shared memory of both kinds."""
    libc = ctypes.CDLL(None, use_errno=True)
    key = secrets.randbits(30) | 1
    segment = libc.shmget(key, 4096, 0o1600)
    assert segment >= 0, os.strerror(ctypes.get_errno())
    held.callback(libc.shmctl, segment, 0, None)
    file = Path("/dev/shm", marker)
    file.write_text("canary")
    held.callback(file.unlink)
    return {"shm_key": key, "shm_name": marker}
