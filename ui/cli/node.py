"""`jarvis node …`: let other machines join, and be the agent of this one from a full checkout."""

import os
import subprocess
import sys
from typing import Annotated

import typer

app = typer.Typer(help="Other machines, and the agent of this one.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output")]
_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command("list")
def node_list(as_json: Json = False) -> None:
    """List the machines with their health and cards."""
    from ui.cli.operator import run as run_async
    from ui.cli.run_tool import run_tool

    run_async(lambda: run_tool("nodes_list", as_json=as_json))


@app.command("token")
def node_token(
    minutes: Annotated[float, typer.Option(help="How long it can be used")] = 60.0,
    as_json: Json = False,
) -> None:
    """Make a token with which one machine may join; it is shown once."""
    from ui.cli.operator import run as run_async

    run_async(lambda: _token(minutes, as_json=as_json))


async def _token(minutes: float, *, as_json: bool) -> None:
    from ui.cli.operator import seated

    async with seated() as seat:
        parts = seat.app.parts
        token = await parts.nodes.create_token(seat.caller.principal.name, minutes=minutes)
        link = parts.settings.link
    if as_json:
        typer.echo(token.model_dump_json())
        return
    typer.echo(f"jarvis node join {link} {token.token}")
    typer.echo(f"It works once, until {token.expires_at:%Y-%m-%d %H:%M} UTC.", err=True)


@app.command("remove")
def node_remove(name: Annotated[str, typer.Argument(help="The machine's name")]) -> None:
    """Forget a machine and its part of the service map; its agent is refused from now on."""
    from ui.cli.operator import run as run_async

    run_async(lambda: _remove(name))
    typer.echo(f"{name} is forgotten.")


async def _remove(name: str) -> None:
    from ui.cli.operator import seated

    async with seated() as seat:
        await seat.app.parts.nodes.remove(name)


@app.command("join", context_settings=_PASSED_ON)
def node_join(context: typer.Context) -> None:
    """Join another Jarvis: URL TOKEN [--name … --port … --bind … --home …]."""
    _agent("join", context.args)


@app.command("run", context_settings=_PASSED_ON)
def node_run(context: typer.Context) -> None:
    """Run the agent of this machine: [--home …]."""
    _agent("run", context.args)


@app.command("autostart", context_settings=_PASSED_ON)
def node_autostart(context: typer.Context) -> None:
    """Start the agent with the machine: [--show system|user|windows] [--home …]."""
    _agent("autostart", context.args)


def _agent(command: str, words: list[str]) -> None:
    """Become the agent: it is a program of its own that shares nothing with this one."""
    from nebula.packages import checkout

    argv = [sys.executable, "-m", "node", command, *words]
    env = os.environ | {"PYTHONPATH": str(checkout())}
    if sys.platform == "win32":
        raise typer.Exit(subprocess.run(argv, env=env, check=False).returncode)
    os.execve(sys.executable, argv, env)  # noqa: S606 - an argument list, no shell
