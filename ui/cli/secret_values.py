"""What handles values of secrets in a terminal: the prompt, showing one, and the change of keys."""

import sys

from nebula.errors import InvalidInput
from ui.cli.operator import operator, people, read_settings
from ui.cli.records import write_json
from ui.cli.show import console


def read_value(name: str) -> str:
    """Read a value without showing it, twice from a person, or all of standard input.

    Raises:
        InvalidInput: when there is none, or the second differs from the first.
    """
    if not sys.stdin.isatty():
        value = sys.stdin.read().removesuffix("\n")
    else:
        import getpass

        value = getpass.getpass(f"Value of {name}: ")
        if value != getpass.getpass("Once more: "):
            raise InvalidInput("The two differ; nothing was stored.")
    if not value:
        raise InvalidInput(
            "There is no value.", hint=f"Type one, or pipe it: … | jarvis secrets set {name}"
        )
    return value


async def show_value(name: str, environment: str, *, pipe: bool) -> None:
    """Write a value on stdout after recording that it was shown.

    Raises:
        InvalidInput: when stdout is no terminal and that was not asked for.
        NotFound: when there is no such secret.
    """
    from nebula.secrets.store import open_secrets
    from nebula.tool.audit.log import Audit

    if not (pipe or sys.stdout.isatty()):
        raise InvalidInput(
            "This does not go to a terminal, so somebody else may keep it.",
            hint="Say --pipe if that is what you want.",
        )
    async with people() as (auth, database), open_secrets(database, read_settings()) as secrets:
        who = await operator(auth)
        secret = await secrets.get(name, environment=environment)
        async with database.session() as session:
            line = {
                "principal": who.name,
                "surface": "terminal",
                "tool": "secrets_show",
                "call_id": f"show-{secret.version}",
                "session_id": None,
                "outcome": "ok",
                "detail": {"secret": secret.reference, "version": secret.version},
            }
            await Audit(database).append(session, line)
        # On record first: a value that was seen without a trace would be worse.
        value = await secrets.open(secret.version)
    sys.stdout.write(value + "\n")


async def change_key(*, as_json: bool) -> None:
    """Seal everything with a new key."""
    from nebula.secrets.rekey import rekey
    from nebula.tool.audit.log import Audit

    async with people() as (auth, database):
        who = await operator(auth)
        done = await rekey(database, read_settings())
        async with database.session() as session:
            line = {
                "principal": who.name,
                "surface": "terminal",
                "tool": "secrets_rekey",
                "call_id": "rekey",
                "session_id": None,
                "outcome": "ok",
                "detail": {"values": done.values, "columns": done.columns},
            }
            await Audit(database).append(session, line)
    if as_json:
        write_json(done)
    else:
        console().print(f"{done.values} values are sealed with a new key in {done.place}.")
