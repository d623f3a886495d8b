"""Compares the tables that the code declares with those that the migrations make."""

import sys
import tempfile
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, NullPool, create_engine, make_url

from nebula.db.embedded import EmbeddedPostgres
from nebula.db.migrate import metadata, script, upgrade
from nebula.log import configure_logging


def differences(connection: Connection) -> list[str]:
    """List what autogenerate would change; other schemas belong to their libraries."""
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return [_line(change) for change in _flat(compare_metadata(context, metadata()))]


def split_branches() -> list[str]:
    """List the branches that two revisions continue at once."""
    heads: dict[str, list[str]] = {}
    for head in script().get_heads():
        revision = script().get_revision(head)
        heads.setdefault(str(Path(revision.path).parent), []).append(head)
    return [
        f"{folder} has several heads: {', '.join(h)}" for folder, h in heads.items() if len(h) > 1
    ]


def main() -> int:
    """Migrate a scratch database and report every difference."""
    configure_logging(level="ERROR")
    found = split_branches()
    if not found:
        with tempfile.TemporaryDirectory(prefix="nebula-drift-") as home:
            conf = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
            with EmbeddedPostgres(Path(home), conf) as server:
                upgrade(server.url)
                address = make_url(server.url).set(drivername="postgresql+psycopg")
                with create_engine(address, poolclass=NullPool).connect() as connection:
                    found = differences(connection)
    for line in found:
        sys.stderr.write(f"drift: {line}\n")
    if found:
        sys.stderr.write("Write a migration: python -m nebula.db.revision FOLDER 'what changes'\n")
    else:
        sys.stdout.write("Tables and migrations agree.\n")
    return 1 if found else 0


def _flat(changes: object) -> list[tuple[object, ...]]:
    flat: list[tuple[object, ...]] = []
    for change in changes if isinstance(changes, list) else []:
        flat += _flat(change) if isinstance(change, list) else [change]
    return flat


def _line(change: tuple[object, ...]) -> str:
    kind, *rest = change
    return f"{kind}: " + " ".join(
        str(getattr(part, "name", part)) for part in rest if part is not None
    )


if __name__ == "__main__":
    sys.exit(main())
