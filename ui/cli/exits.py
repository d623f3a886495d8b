"""How a command ends: exit codes by kind of error, and the one line that says why."""

import sys

from nebula.errors import NebulaError
from nebula.markup.text import json_line, visible

USAGE = 2
CODES = {
    "invalid_input": USAGE,
    "approval_required": 3,
    "not_authenticated": 4,
    "permission_denied": 4,
    "not_found": 5,
    "conflict": 6,
    "too_large": USAGE,
    "rate_limited": 75,
    "upstream_unavailable": 75,
    "timed_out": 75,
}
"""75 is the usual code for "try again later"; anything that is not here ends with 1."""

STOPPED = 130


def code_of(error: NebulaError) -> int:
    """Return the exit code for an error."""
    return CODES.get(error.code, 1)


def tell(error: NebulaError, *, as_json: bool = False) -> None:
    """Write an error: one line and its next step, or the error shape as JSON on stdout."""
    if as_json:
        sys.stdout.write(json_line({"error": error.payload()}) + "\n")
        return
    sys.stderr.write(written(str(error), error.hint))


def written(said: str, hint: str) -> str:
    """Write what went wrong and the next step; words from elsewhere command no terminal."""
    told = f"jarvis: {visible(said)}\n"
    return f"{told}  → {visible(hint)}\n" if hint else told
