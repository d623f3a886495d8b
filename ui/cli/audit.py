"""`jarvis audit`: search, export and verify the log of everything that was done."""

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The log of everything that was done.", no_args_is_help=True)

Person = Annotated[str | None, typer.Option("--person", help="Only what this person did")]
Tool = Annotated[str | None, typer.Option(help="Only calls of this tool")]
Session = Annotated[str | None, typer.Option(help="Only of this session")]
Outcome = Annotated[str | None, typer.Option(help="Only with this outcome, like ok")]
Since = Annotated[datetime | None, typer.Option(help="From this moment on (local time)")]
Until = Annotated[datetime | None, typer.Option(help="Before this moment (local time)")]
Text = Annotated[str | None, typer.Option(help="Stands in the line, such as in an argument")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output")]


class Format(StrEnum):
    """How an export is written."""

    JSONL = "jsonl"
    CSV = "csv"


@app.command()
def search(  # noqa: PLR0917 - typer passes them by name
    person: Person = None,
    tool: Tool = None,
    session: Session = None,
    outcome: Outcome = None,
    since: Since = None,
    until: Until = None,
    text: Text = None,
    before: Annotated[int | None, typer.Option(help="Only lines with a lower number")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many")] = 50,
    as_json: Json = False,
) -> None:
    """Show lines, newest first."""
    from ui.cli.audit_log import search as look
    from ui.cli.audit_log import wish
    from ui.cli.operator import run

    wanted = wish(person, tool, session, outcome, since, until, text, before)
    run(lambda: look(wanted, limit, as_json=as_json))


@app.command()
def export(  # noqa: PLR0917 - typer passes them by name
    file: Annotated[Path | None, typer.Argument(help="Write here; left out, to the output")] = None,
    as_: Annotated[Format, typer.Option("--as", help="jsonl can be verified later")] = Format.JSONL,
    person: Person = None,
    tool: Tool = None,
    session: Session = None,
    outcome: Outcome = None,
    since: Since = None,
    until: Until = None,
    text: Text = None,
) -> None:
    """Write lines with their hashes, oldest first; without options, the whole log."""
    from ui.cli.audit_log import export as write
    from ui.cli.audit_log import wish
    from ui.cli.operator import run

    wanted = wish(person, tool, session, outcome, since, until, text, None)
    run(lambda: write(file, wanted, table=as_ is Format.CSV))


@app.command()
def verify(
    file: Annotated[Path | None, typer.Option(help="Verify an exported file instead")] = None,
    anchors: Annotated[Path | None, typer.Option(help="Hold it against these anchors")] = None,
    as_json: Json = False,
) -> None:
    """Check that no line was changed, removed, moved or cut off; exit code 1 if one was."""
    from ui.cli.audit_log import verify as check

    raise typer.Exit(0 if check(file, anchors, as_json=as_json) else 1)


@app.command()
def role(
    name: Annotated[str, typer.Argument(help="The role to make for the program")] = "jarvis_app",
) -> None:
    """Print the SQL that gives the program a database role that cannot alter the log."""
    from ui.cli.audit_log import show_role

    show_role(name)
