"""What the program's own role may do in a database that another role owns and migrates.

Everything with rows, but not change the audit log, not the tables' shape, and not the record of
applied migrations. A role that owns the tables, such as the only one of an operator's server, is
left as it is: it could do all that, and `jarvis audit verify` says so.
"""

import asyncio
from collections.abc import Mapping

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from nebula.db.engine import plain_url
from nebula.db.errors import translated
from nebula.errors import InvalidInput

_LOCK = 0x6E656276  # an advisory lock: one process grants at a time
_SCHEMAS = ["public", "langgraph", "procrastinate"]
_READ_ONLY = ("audit_log", "audit_head", "alembic_version")

_MISSING = """
SELECT EXISTS (
    SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY(%(schemas)s) AND (
        c.relkind IN ('r', 'p') AND (
            NOT has_table_privilege(%(role)s, c.oid, 'SELECT')
            OR has_table_privilege(%(role)s, c.oid, 'INSERT') = (c.relname = ANY(%(read_only)s))
        )
        OR c.relkind = 'S' AND NOT has_sequence_privilege(%(role)s, c.oid, 'USAGE')
    )
) OR NOT has_function_privilege(%(role)s, 'audit_append(text)', 'EXECUTE')
"""


async def let_work(owner_url: str, app_url: str) -> None:
    """Grant the role of one address what the program needs, as the owner of the other address.

    Raises:
        InvalidInput: when there is no such role.
        UpstreamUnavailable: when the database does not answer.
    """
    owner, app = _role(owner_url), _role(app_url)
    if owner == app:
        return
    try:
        await asyncio.to_thread(_grant, plain_url(owner_url), app)
    except psycopg.errors.UndefinedObject as error:
        raise InvalidInput(
            f"The database has no role {app!r}, as which DATABASE_URL signs in",
            hint=f"Make it: `jarvis audit role {app}` prints how.",
        ) from error
    except psycopg.Error as error:
        seen = translated(error)
        if seen is None:
            raise
        raise seen from error


def statements(role: str) -> list[sql.Composed]:
    """Return what an owner runs so that the program works under a role of its own."""
    who = sql.Identifier(role)
    made = []
    for schema in map(sql.Identifier, _SCHEMAS):
        made += [
            sql.SQL(text).format(schema, who)
            for text in (
                "GRANT USAGE ON SCHEMA {} TO {}",
                "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {} TO {}",
                "GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA {} TO {}",
            )
        ]
    for table in map(sql.Identifier, _READ_ONLY):
        made.append(sql.SQL("REVOKE ALL ON {} FROM {}").format(table, who))
        made.append(sql.SQL("GRANT SELECT ON {} TO {}").format(table, who))
    made.append(sql.SQL("GRANT EXECUTE ON FUNCTION audit_append(text) TO {}").format(who))
    return made


def _role(url: str) -> str:
    """Return the name an address signs in with."""
    return str(conninfo_to_dict(plain_url(url)).get("user", ""))


def _grant(owner_url: str, role: str) -> None:
    asked = {"role": role, "schemas": _SCHEMAS, "read_only": list(_READ_ONLY)}
    with psycopg.connect(owner_url, connect_timeout=5) as connection:
        if not _lacks(connection, asked):
            return
        # Two that grant at once would hit the same rows of the catalogue.
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        if _lacks(connection, asked):
            for statement in statements(role):
                connection.execute(statement)


def _lacks(connection: psycopg.Connection, asked: Mapping[str, object]) -> bool:
    row = connection.execute(_MISSING, asked).fetchone()
    return row is not None and bool(row[0])
