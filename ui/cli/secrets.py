"""`jarvis secrets`: stored passwords, keys and tokens. A value is typed or piped in, never an argument."""

from collections.abc import Mapping
from typing import Annotated

import typer

app = typer.Typer(help="Passwords, API keys and tokens, stored encrypted.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The secret's name; case does not matter")]
Environment = Annotated[str, typer.Option("--env", "-e", help="The environment it belongs to")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output")]
Yes = Annotated[bool, typer.Option("--yes", help="Approve it here and now, without the question")]


@app.command("list")
def list_secrets(
    environment: Annotated[str, typer.Option("--env", "-e", help="Only this environment")] = "",
    as_json: Json = False,
) -> None:
    """List them, without their values."""
    _tool("secrets_list", {"environment": environment or None}, as_json=as_json)


@app.command("set")
def set_secret(  # noqa: PLR0917 - typer passes them by name
    name: Name,
    environment: Environment = "default",
    note: Annotated[str | None, typer.Option(help="What it is for")] = None,
    share: Annotated[
        list[str] | None, typer.Option(help="A feature whose tools may be given it")
    ] = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Store a value, read from a prompt or from standard input."""
    from ui.cli.secret_values import read_value

    given = {"name": name, "environment": environment, "note": note, "features": share or None}
    _tool("secrets_set", {**given, "value": read_value(name)}, yes=yes, as_json=as_json)


@app.command()
def show(
    name: Name,
    environment: Environment = "default",
    pipe: Annotated[bool, typer.Option("--pipe", help="Also when it goes to no terminal")] = False,
) -> None:
    """Show a value in this terminal; that it was shown goes on record."""
    from ui.cli.operator import run
    from ui.cli.secret_values import show_value

    run(lambda: show_value(name, environment, pipe=pipe))


@app.command()
def delete(
    name: Name, environment: Environment = "default", yes: Yes = False, as_json: Json = False
) -> None:
    """Delete a secret with its versions."""
    given = {"name": name, "environment": environment}
    _tool("secrets_delete", given, yes=yes, as_json=as_json)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="An environment, or a file such as .env")],
    second: Annotated[str, typer.Argument(help="Another one")],
    as_json: Json = False,
) -> None:
    """Say which are the same, different or missing, without a value."""
    _tool("secrets_compare", {"first": first, "second": second}, as_json=as_json)


@app.command("import")
def import_file(  # noqa: PLR0917 - typer passes them by name
    path: Annotated[str, typer.Argument(help="A .env file under this folder")] = ".env",
    environment: Environment = "default",
    only: Annotated[list[str] | None, typer.Option(help="Only this name")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace other values")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Store the values of a .env file."""
    given = {"path": path, "environment": environment, "names": only or [], "replace": replace}
    _tool("secrets_import", given, yes=yes, as_json=as_json)


@app.command()
def rotate(
    name: Name,
    environment: Environment = "default",
    generate: Annotated[bool, typer.Option("--generate", help="Make a random value")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Give it a new value, and say who used the old one."""
    from ui.cli.secret_values import read_value

    given = {"name": name, "environment": environment}
    value = {} if generate else {"value": read_value(name)}
    _tool("secrets_rotate", {**given, **value}, yes=yes, as_json=as_json)


@app.command()
def restore(
    name: Name, environment: Environment = "default", yes: Yes = False, as_json: Json = False
) -> None:
    """Go back to the version before."""
    given = {"name": name, "environment": environment}
    _tool("secrets_restore", given, yes=yes, as_json=as_json)


@app.command()
def share(
    name: Name,
    features: Annotated[list[str] | None, typer.Argument(help="None: administrators only")] = None,
    environment: Environment = "default",
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Say which features' tools may be given it by models, schedules and other people."""
    given = {"name": name, "environment": environment, "features": features or []}
    _tool("secrets_share", given, yes=yes, as_json=as_json)


@app.command()
def usage(
    name: Annotated[str, typer.Argument(help="Only this one")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many at most")] = 50,
    as_json: Json = False,
) -> None:
    """Say who used what with which tool, and when."""
    _tool("secrets_usage", {"name": name or None, "limit": limit}, as_json=as_json)


@app.command()
def rekey(as_json: Json = False) -> None:
    """Seal everything with a new key, kept where JARVIS_SECRETS_KEY says."""
    from ui.cli.operator import run
    from ui.cli.secret_values import change_key

    run(lambda: change_key(as_json=as_json))


def _tool(
    name: str, arguments: Mapping[str, object], *, as_json: bool = False, yes: bool = False
) -> None:
    import json

    from ui.cli.operator import run
    from ui.cli.run_tool import run_tool

    document = json.dumps({key: value for key, value in arguments.items() if value is not None})
    run(lambda: run_tool(name, document=document, as_json=as_json, approve=yes))
