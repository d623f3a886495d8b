"""Calls, approvals and the audit log."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "tool_0001"
down_revision = None
branch_labels = ("tool",)
depends_on = None

_TIME = sa.DateTime(timezone=True)
_NOW = sa.text("clock_timestamp()")

_APPEND = """
CREATE FUNCTION audit_append(line text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE head audit_head; digest bytea;
BEGIN
    -- The row lock is held until the caller commits: lines commit in their own order.
    UPDATE audit_head SET seq = seq + 1 RETURNING * INTO head;
    digest := sha256(head.hash || convert_to(head.seq::text || ':' || line, 'UTF8'));
    INSERT INTO audit_log (seq, payload, prev_hash, hash)
        VALUES (head.seq, line, head.hash, digest);
    UPDATE audit_head SET hash = digest;
    RETURN head.seq;
END $$
"""

_REFUSE = """
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END $$
"""


def upgrade() -> None:
    op.create_table(
        "tool_calls",
        sa.Column("principal_id", sa.Text, primary_key=True),
        sa.Column("call_id", sa.Text, primary_key=True),
        sa.Column("tool", sa.Text, nullable=False),
        sa.Column("arguments_sha256", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("result", JSONB),
        sa.Column("error", JSONB),
        sa.Column("approval_id", sa.Text),
        sa.Column("session_id", sa.Text),
        sa.Column("started_at", _TIME, nullable=False, server_default=_NOW),
        sa.Column("deadline", _TIME, nullable=False),
        sa.Column("finished_at", _TIME),
        sa.CheckConstraint(
            "state in ('running', 'waiting', 'succeeded', 'failed', 'unknown')", name="state"
        ),
    )
    op.create_table(
        "approvals",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("principal_id", sa.Text, nullable=False),
        sa.Column("principal_name", sa.Text, nullable=False),
        sa.Column("call_id", sa.Text, nullable=False),
        sa.Column("tool", sa.Text, nullable=False),
        sa.Column("permission", sa.Text, nullable=False),
        sa.Column("effect", sa.Text, nullable=False),
        sa.Column("envelope", JSONB, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("surface", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text),
        sa.Column("state", sa.Text, nullable=False, server_default="pending"),
        sa.Column("created_at", _TIME, nullable=False, server_default=_NOW),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("decided_at", _TIME),
        sa.Column("decided_by", sa.Text),
        sa.Column("decided_where", sa.Text),
        sa.Column("comment", sa.Text, nullable=False, server_default=""),
        sa.CheckConstraint(
            "state in ('pending', 'approved', 'denied', 'changes_requested', 'used', 'expired')",
            name="state",
        ),
    )
    op.create_index("ix_approvals_call", "approvals", ["principal_id", "call_id"], unique=True)
    op.create_index(
        "ix_approvals_pending",
        "approvals",
        ["created_at"],
        postgresql_where=sa.text("state = 'pending'"),
    )
    _audit()


def _audit() -> None:
    def computed(name: str) -> sa.Column[str]:
        return sa.Column(
            name, sa.Text, sa.Computed(f"(payload::jsonb) ->> '{name}'", persisted=True)
        )

    op.create_table(
        "audit_log",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("prev_hash", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        computed("tool"),
        computed("principal"),
        computed("session_id"),
        computed("outcome"),
    )
    op.create_table(
        "audit_head",
        sa.Column("one", sa.Boolean, primary_key=True, server_default="true"),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.CheckConstraint("one", name="only_row"),
    )
    op.execute("INSERT INTO audit_head (seq, hash) VALUES (0, '\\x00')")
    op.execute(_APPEND)
    op.execute(_REFUSE)
    op.execute(
        "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()"
    )
