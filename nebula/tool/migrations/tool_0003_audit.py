"""Only the log's own function writes it; a moment to search by, and indexes for searching."""

import sqlalchemy as sa
from alembic import op

revision = "tool_0003"
down_revision = "tool_0002"
branch_labels = None
depends_on = None

# Runs as the tables' owner, whoever calls it: the program's own account may not write them.
_APPEND = """
CREATE OR REPLACE FUNCTION {schema}.audit_append(line text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE head {schema}.audit_head; digest bytea;
BEGIN
    -- The row lock is held until the caller commits: lines commit in their own order.
    UPDATE {schema}.audit_head SET seq = seq + 1 RETURNING * INTO head;
    digest := sha256(head.hash || convert_to(head.seq::text || ':' || line, 'UTF8'));
    INSERT INTO {schema}.audit_log (seq, payload, prev_hash, hash)
        VALUES (head.seq, line, head.hash, digest);
    UPDATE {schema}.audit_head SET hash = digest;
    RETURN head.seq;
END $$
"""
_SEARCHED = ("principal", "tool", "session_id", "at")


def upgrade() -> None:
    """Guard the log."""
    connection = op.get_bind()
    schema = connection.scalar(sa.text("SELECT quote_ident(current_schema())"))
    op.execute(_APPEND.format(schema=schema))
    op.execute(f"REVOKE ALL ON FUNCTION {schema}.audit_append(text) FROM PUBLIC")
    at = sa.Computed("(payload::jsonb) ->> 'at'", persisted=True)
    op.add_column("audit_log", sa.Column("at", sa.Text, at))
    for column in _SEARCHED:
        op.create_index(f"ix_audit_log_{column}", "audit_log", [column, "seq"])
