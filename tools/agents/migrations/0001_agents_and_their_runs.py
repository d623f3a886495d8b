"""Agents and their runs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "agents_0001"
down_revision = None
branch_labels = ("agents",)
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "agents",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("owner_name", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("features", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("tools", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("limits", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("overlap", sa.Text(), nullable=False),
        sa.Column("report_to", sa.Text(), nullable=True),
        sa.Column("report_when", sa.Text(), nullable=False),
        sa.Column("trigger", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("heard", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("schedule_id", sa.Text(), nullable=True),
        sa.Column("rights", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("labels", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("stopped_because", sa.Text(), server_default="", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("overlap in ('skip', 'queue')", name=op.f("ck_agents_overlap")),
        sa.CheckConstraint(
            "report_when in ('always', 'news', 'problems')", name=op.f("ck_agents_report_when")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agents")),
    )
    op.create_index("uq_agents_owner_name", "agents", ["owner_id", "name"], unique=True)
    op.create_table(
        "agent_runs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("task", sa.Text(), server_default="", nullable=False),
        sa.Column("event", sa.Text(), server_default="", nullable=False),
        sa.Column("labels", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.Column("turn_id", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seconds", sa.Float(), server_default="0", nullable=False),
        sa.Column("model_calls", sa.Integer(), server_default="0", nullable=False),
        sa.Column("tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "did", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False
        ),
        sa.Column("report", sa.Text(), server_default="", nullable=False),
        sa.Column("problem", sa.Text(), server_default="", nullable=False),
        sa.Column("to_tell", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("told", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint(
            "state in ('queued', 'running', 'waiting', 'done', 'failed', 'stopped', 'cancelled', 'skipped')",
            name=op.f("ck_agent_runs_state"),
        ),
        sa.ForeignKeyConstraint(
            ["agent_id"],
            ["agents.id"],
            name=op.f("fk_agent_runs_agent_id_agents"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agent_runs")),
    )
    op.create_index(
        "ix_agent_runs_agent_created", "agent_runs", ["agent_id", "created_at"], unique=False
    )
    op.create_index(
        "ix_agent_runs_open",
        "agent_runs",
        ["created_at"],
        unique=False,
        postgresql_where="state in ('queued', 'running', 'waiting') or to_tell",
    )
    op.create_index("uq_agent_runs_cause", "agent_runs", ["agent_id", "cause"], unique=True)
    op.create_index(
        "uq_agent_runs_running",
        "agent_runs",
        ["agent_id"],
        unique=True,
        postgresql_where="state in ('running', 'waiting')",
    )


def downgrade() -> None:
    """Drop the tables with every agent."""
    op.drop_index(
        "uq_agent_runs_running",
        table_name="agent_runs",
        postgresql_where="state in ('running', 'waiting')",
    )
    op.drop_index("uq_agent_runs_cause", table_name="agent_runs")
    op.drop_index(
        "ix_agent_runs_open",
        table_name="agent_runs",
        postgresql_where="state in ('queued', 'running', 'waiting') or to_tell",
    )
    op.drop_index("ix_agent_runs_agent_created", table_name="agent_runs")
    op.drop_table("agent_runs")
    op.drop_index("uq_agents_owner_name", table_name="agents")
    op.drop_table("agents")
