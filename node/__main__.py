"""The agent's command line: python -m node join URL TOKEN, run, hardware, autostart."""

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from node.errors import AgentError, BadRequest
from node.protocol import DEFAULT_PORT, NAME_PATTERN

_FROM_INPUT = "-"


def default_home() -> Path:
    """Return where the agent keeps its data when nobody says."""
    if given := os.environ.get("NEBULA_NODE_HOME"):
        return Path(given)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home()))) / "nebula-node"
    if os.geteuid() == 0:
        return Path("/var/lib/nebula-node")
    return Path.home() / ".local/share/nebula-node"


def default_name() -> str:
    """Return the machine's own name, in the form that node names have."""
    name = re.sub(r"[^a-z0-9]+", "-", socket.gethostname().partition(".")[0].lower()).strip("-")
    return name[:40].strip("-") or "node"


async def join(given: argparse.Namespace) -> None:
    """Join: look at this machine, ask the control plane, and keep what it gave."""
    from node import control
    from node.config import Home, Identity
    from node.detect import machine, network, services
    from node.protocol import JoinRequest, digest
    from node.server import checked_bind

    url = control.checked_control(given.url)
    if not re.fullmatch(NAME_PATTERN, given.name):
        raise BadRequest("A name has up to 40 small letters, digits and hyphens")
    home = Home(given.home)
    if home.identity_file.exists() and not given.force:
        raise BadRequest(
            f"This machine joined already as {home.identity().name!r}",
            hint="Join anew with --force.",
        )
    hardware = await asyncio.to_thread(machine.hardware, home.path)
    here = network.is_loopback(_host(url))
    bind = given.bind or ("127.0.0.1" if here else hardware.tailscale or "127.0.0.1")
    tls = bool(given.tls_cert)
    checked_bind(bind, tls=tls)
    own = f"{'https' if tls else 'http'}://{f'[{bind}]' if ':' in bind else bind}:{given.port}"
    own = given.own_url or own
    token = given.token
    if token == _FROM_INPUT:
        token = (await asyncio.to_thread(sys.stdin.readline)).strip()
    request = JoinRequest(token, given.name, own, hardware, await services.found(bind))
    async with control.control_http(given.ca) as http:
        joined = await control.join(http, url, request)
    home.keep(
        Identity(
            name=joined.node, control=url, secret=joined.secret, key_digest=digest(joined.key),
            bind=bind, port=given.port, url=own, ca=given.ca, tls_cert=given.tls_cert,
            tls_key=given.tls_key,
        )
    )  # fmt: skip
    home.write_example()
    _print(f"This machine joined as {joined.node}. What may run here: {home.config_file}")
    if not here and network.is_loopback(bind):
        _print("It has no Tailscale address, so Jarvis can hear it but not start anything on it.")
    _print("Start the agent: python -m node run, or with the machine: python -m node autostart")


async def run(given: argparse.Namespace) -> None:
    """Run the agent until SIGTERM or Ctrl-C."""
    from node.agent import open_agent, say
    from node.config import Home
    from node.server import checked_bind, create_app, serve

    home = Home(given.home)
    me = home.identity()
    _speak_into(home.path / "agent.log")
    checked_bind(me.bind, tls=bool(me.tls_cert))
    with _only_one(home.path), _listener(me.bind, me.port) as listener:
        async with open_agent(home) as agent:
            say(f"{me.name} listens at {me.url} and belongs to {me.control}")
            await serve(create_app(agent), listener, me)


def _speak_into(log: Path) -> None:
    """Write to a file what has no terminal to go to: Windows starts the agent without one."""
    if sys.stderr is None:
        log.unlink(missing_ok=True)
        sys.stderr = sys.stdout = log.open("a", buffering=1, encoding="utf-8")


@contextlib.contextmanager
def _listener(host: str, port: int) -> Any:
    """Listen before anything is started, so that a second agent stops at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's delay off only where the socket says that it is TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    with listener:
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise BadRequest(f"{host}:{port} cannot be listened on: {error.strerror}") from error
        yield listener


@contextlib.contextmanager
def _only_one(home: Path) -> Any:
    """Hold a lock on the folder: two agents over one journal would undo each other's work."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "agent.lock").open("a+b") as file:
        try:
            if sys.platform == "win32":  # pragma: no cover
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BadRequest(f"An agent runs with the folder {home} already") from error
        yield


def _host(url: str) -> str:
    from urllib.parse import urlsplit

    return urlsplit(url).hostname or ""


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def _hardware(given: argparse.Namespace) -> None:
    from node.detect import machine

    _print(json.dumps(asdict(machine.hardware(given.home)), indent=1))


def _autostart(given: argparse.Namespace) -> None:
    from node import autostart

    if given.show:
        start = autostart.Start(sys.executable, str(autostart.ours()), str(given.home.resolve()))
        windows = given.show == "windows"
        user = os.environ.get("USERNAME", "")
        _print(
            autostart.task_xml(start, user)
            if windows
            else autostart.systemd_unit(start, system=given.show == "system")
        )
        return
    _print(autostart.install(given.home))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m node", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    joining = commands.add_parser("join", help="become a machine of a Jarvis")
    joining.add_argument("url", help="where Jarvis answers")
    joining.add_argument("token", help="a join token; - reads it from the standard input")
    joining.add_argument("--name", default=default_name(), help="what people call this machine")
    joining.add_argument("--port", type=int, default=DEFAULT_PORT)
    joining.add_argument("--bind", help="address to listen on; Tailscale's when left out")
    joining.add_argument("--own-url", help="how Jarvis reaches this agent, if not by --bind")
    joining.add_argument("--ca", help="file of the certificate authority to trust")
    joining.add_argument("--tls-cert")
    joining.add_argument("--tls-key")
    joining.add_argument("--force", action="store_true", help="join anew")
    commands.add_parser("run", help="run the agent")
    commands.add_parser("hardware", help="show what this machine is made of")
    starting = commands.add_parser("autostart", help="start the agent with the machine")
    starting.add_argument("--show", choices=["system", "user", "windows"], help="print it only")
    for name in ("install", "remove"):
        recipe = commands.add_parser(name, help=f"{name} a service by its recipe")
        recipe.add_argument("recipe")
    for sub in commands.choices.values():
        sub.add_argument("--home", type=Path, default=default_home(), help="the agent's folder")
    return parser


def _dispatch(given: argparse.Namespace) -> None:
    if given.command in {"join", "run"}:
        asyncio.run(join(given) if given.command == "join" else run(given))
    elif given.command in {"install", "remove"}:
        from node import deploy
        from node.config import Home

        (deploy.install if given.command == "install" else deploy.remove)(
            Home(given.home), given.recipe
        )
    else:
        {"hardware": _hardware, "autostart": _autostart}[given.command](given)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; an error is one line with its next step."""
    given = _parser().parse_args(argv)
    # Windows consoles and pipes may not know every letter of a message.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        _dispatch(given)
    except AgentError as error:
        sys.stderr.write(f"{error}\n" + (f"{error.hint}\n" if error.hint else ""))
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
