"""Writes the next migration of one package: `python -m nebula.db.revision FOLDER "message"`."""

import re
import sys
import tempfile
from pathlib import Path

from alembic import command
from sqlalchemy import NullPool, create_engine, make_url

from nebula.db.base import Base
from nebula.db.embedded import EmbeddedPostgres
from nebula.db.migrate import config, metadata, script, upgrade
from nebula.errors import InvalidInput
from nebula.log import configure_logging
from nebula.packages import LAYERS, checkout


def main(arguments: list[str]) -> int:
    """Compare a scratch database with the folder's tables and write what is missing."""
    configure_logging(level="ERROR")
    if len(arguments) != 2:
        sys.stderr.write('usage: python -m nebula.db.revision FOLDER "what changes"\n')
        return 2
    folder = Path(arguments[0]).resolve()
    if folder.is_relative_to(checkout()) and folder.relative_to(checkout()).parts[0] in LAYERS:
        sys.stdout.write(f"{write_revision(folder, arguments[1])}\n")
        return 0
    raise InvalidInput(f"{folder} is not a folder of our packages")


def write_revision(folder: Path, message: str) -> Path:
    """Write one revision with the changes to tables that this folder's models declare."""
    (folder / "migrations").mkdir(exist_ok=True)
    own = _own_tables(folder)
    branch = _branch(folder)
    number = 1 + len(list((folder / "migrations").glob("[0-9]*.py")))
    slug = re.sub(r"[^a-z0-9]+", "_", message.lower()).strip("_")[:40]
    with (
        tempfile.TemporaryDirectory(prefix="nebula-revision-") as home,
        EmbeddedPostgres(Path(home), {"fsync": "off"}) as server,
    ):
        upgrade(server.url)
        address = make_url(server.url).set(drivername="postgresql+psycopg")
        with create_engine(address, poolclass=NullPool).connect() as connection:
            made = config(connection)
            made.set_main_option("file_template", f"{number:04d}_{slug}")
            first = number == 1
            made.attributes["include_object"] = lambda _object, name, kind, *_: (
                kind != "table" or name in own
            )
            command.revision(
                made,
                message,
                autogenerate=True,
                rev_id=f"{branch}_{number:04d}",
                head="base" if first else f"{branch}@head",
                splice=False,
                branch_label=branch if first else None,
                version_path=str(folder / "migrations"),
            )
    return folder / "migrations" / f"{number:04d}_{slug}.py"


def _own_tables(folder: Path) -> set[str]:
    """Return the names of the tables whose classes live in this folder's models."""
    metadata()
    module = ".".join((*folder.relative_to(checkout()).parts, "models"))
    mappers = Base.registry.mappers
    return {str(m.local_table) for m in mappers if m.class_.__module__ == module}


def _branch(folder: Path) -> str:
    """Return the branch of the folder's first revision, or the folder's own name."""
    for revision in script().walk_revisions():
        if Path(revision.path).parent == folder / "migrations" and revision.branch_labels:
            return sorted(revision.branch_labels)[0]
    return folder.name


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
