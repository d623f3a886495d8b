"""`jarvis backup` and `jarvis restore`."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Make a backup; with a word behind it, look at those there are.")

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output")]
File = Annotated[Path, typer.Argument(help="The backup, jarvis-….zip")]
Key = Annotated[Path | None, typer.Option("--key", help="A copy of secrets.key, if it is apart")]


@app.callback(invoke_without_command=True)
def backup(
    context: typer.Context,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for it to end")] = False,
    as_json: Json = False,
) -> None:
    """Make a backup, while Jarvis runs or not; JARVIS_BACKUPS_FOLDER says where."""
    if context.invoked_subcommand is not None:
        return
    from ui.cli.operator import run
    from ui.cli.run_tool import run_tool

    run(lambda: run_tool("backups_create", as_json=as_json, detach=detach))


@app.command("list")
def list_backups(as_json: Json = False) -> None:
    """List the backups, and read the newest."""
    from ui.cli.operator import run
    from ui.cli.run_tool import run_tool

    run(lambda: run_tool("backups_list", as_json=as_json))


@app.command()
def verify(file: File, key: Key = None, as_json: Json = False) -> None:
    """Read a backup from end to end; a torn or edited one is an error."""
    from ui.cli.restore import verify as read

    read(file, key, as_json=as_json)


def restore(
    file: File,
    check: Annotated[bool, typer.Option("--check", help="Only look; change nothing")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Move aside what is in the data folder, without asking")
    ] = False,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Put a backup back while Jarvis is stopped; what is there now is moved aside."""
    from ui.cli.operator import run
    from ui.cli.restore import restore as put_back

    done = run(lambda: put_back(file, key, only_check=check, yes=yes, as_json=as_json))
    raise typer.Exit(0 if done else 1)
