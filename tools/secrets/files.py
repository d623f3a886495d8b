"""Reads `.env` files of the working directory; nothing else on the disk."""

import io
import re
from pathlib import Path

from dotenv import dotenv_values

from nebula.errors import InvalidInput, NotFound, TooLarge
from nebula.secrets.secret import NAME_PATTERN

PATTERN = r"^(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*/){0,8}(?:[A-Za-z0-9_-]+)?\.env(?:\.[A-Za-z0-9_-]+)*$"
"""A relative path to a file named like `.env`, `.env.production` or `web.env`."""
_NAME = re.compile(NAME_PATTERN)
_LARGEST = 256 * 1024


def read_env(path: str) -> dict[str, str]:
    """Return the values of a file by their names in lower case; odd names are left out. Blocks.

    Raises:
        NotFound: when there is no such file under the working directory.
        TooLarge: when it is over 256 KiB.
        InvalidInput: when it is no text, or two names differ only in case.
    """
    root = Path.cwd().resolve()
    file = (root / path).resolve()
    if not file.is_relative_to(root) or not file.is_file():
        raise NotFound(f"There is no file {path} here.", hint=f"It is looked for in {root}.")
    if file.stat().st_size > _LARGEST:
        raise TooLarge(f"{path} is larger than 256 KiB; that is no list of secrets.")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text.") from error
    # As written: `$NAME` in a password is no variable.
    found = dotenv_values(stream=io.StringIO(text), interpolate=False)
    # A name that no secret can have is anybody's text, which is not passed on.
    named = {name: value for name, value in found.items() if value and _NAME.fullmatch(name)}
    values = {name.lower(): value for name, value in named.items()}
    if len(values) != len(named):
        raise InvalidInput(f"{path} has two names that differ only in upper and lower case.")
    return values
