"""Sessions, turns and their transcript."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "memory_0001"
down_revision = None
branch_labels = ("memory",)
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables."""
    _sessions()
    _turns()
    _messages()


def downgrade() -> None:
    """Drop the tables."""
    for table in ("session_messages", "session_turns", "sessions"):
        op.drop_table(table)


def _sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("title", sa.Text, server_default="", nullable=False),
        sa.Column("state", sa.Text, server_default="open", nullable=False),
        sa.Column("surface", sa.Text, nullable=False),
        sa.Column("summary", sa.Text, server_default="", nullable=False),
        sa.Column("created_at", MOMENT, server_default=sa.func.now(), nullable=False),
        sa.Column("last_active_at", MOMENT, server_default=sa.func.now(), nullable=False),
    )
    op.create_index("ix_sessions_owner_last_active_at", "sessions", ["owner", "last_active_at"])
    op.create_index(
        "ix_sessions_open_last_active_at",
        "sessions",
        ["last_active_at"],
        postgresql_where=sa.text("state = 'open'"),
    )


def _turns() -> None:
    op.create_table(
        "session_turns",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("session_id", sa.Text, _to_session(), nullable=False),
        sa.Column("position", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("caller", JSONB, nullable=False),
        sa.Column("waits_for", JSONB, server_default="[]", nullable=False),
        sa.Column("cancelled", sa.Boolean, server_default=sa.false(), nullable=False),
        sa.Column("alive_at", MOMENT, server_default=sa.func.now(), nullable=False),
        sa.Column("started_at", MOMENT, server_default=sa.func.now(), nullable=False),
        sa.Column("ended_at", MOMENT),
    )
    op.create_index(
        "ix_session_turns_session_id_position", "session_turns", ["session_id", "position"]
    )
    op.create_index(
        "uq_session_turns_running",
        "session_turns",
        ["session_id"],
        unique=True,
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index(
        "ix_session_turns_waiting",
        "session_turns",
        ["session_id"],
        postgresql_where=sa.text("state = 'waiting'"),
    )


def _messages() -> None:
    op.create_table(
        "session_messages",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("session_id", sa.Text, _to_session(), nullable=False),
        sa.Column("turn_id", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("blocks", JSONB, server_default="[]", nullable=False),
        sa.Column("tool_calls", JSONB, server_default="[]", nullable=False),
        sa.Column("labels", JSONB, server_default="[]", nullable=False),
        sa.Column("status", sa.Text, server_default="done", nullable=False),
        sa.Column("created_at", MOMENT, server_default=sa.func.now(), nullable=False),
    )
    op.create_index(
        "ix_session_messages_session_id_position", "session_messages", ["session_id", "position"]
    )


def _to_session() -> sa.ForeignKey:
    return sa.ForeignKey("sessions.id", ondelete="CASCADE")
