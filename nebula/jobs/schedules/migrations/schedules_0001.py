"""Schedules and their ticks."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "schedules_0001"
down_revision = None
branch_labels = ("schedules",)
depends_on = None


def _moment(name: str, *, now: bool = False) -> sa.Column[object]:
    default = sa.func.clock_timestamp() if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=not now)


def upgrade() -> None:
    op.create_table(
        "schedules",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("tool", sa.Text, nullable=False),
        sa.Column("arguments", JSONB, nullable=False),
        sa.Column("timing", JSONB, nullable=False),
        sa.Column("missed", sa.Text, nullable=False),
        sa.Column("grace_seconds", sa.Float, nullable=False),
        sa.Column("catch_up", sa.Integer, nullable=False),
        sa.Column("jitter_seconds", sa.Float, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("stopped_because", sa.Text, nullable=False, server_default=""),
        sa.Column("owner_id", sa.Text, nullable=False),
        sa.Column("owner_name", sa.Text, nullable=False),
        sa.Column("rights", JSONB, nullable=False),
        sa.Column("session_id", sa.Text),
        _moment("next_due_at"),
        _moment("next_fire_at"),
        _moment("last_fired_at"),
        _moment("created_at", now=True),
        sa.CheckConstraint("missed in ('skip', 'once', 'all')", name="missed"),
        sa.CheckConstraint("not enabled or next_fire_at is not null", name="enabled_has_next"),
    )
    op.create_index(
        "ix_schedules_next", "schedules", ["next_fire_at"], postgresql_where=sa.text("enabled")
    )
    op.create_index("ix_schedules_owner", "schedules", ["owner_id"])
    op.create_table(
        "schedule_ticks",
        sa.Column(
            "schedule_id",
            sa.Text,
            sa.ForeignKey("schedules.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("due_at", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("job_id", sa.Text),
        sa.Column("approval_id", sa.Text),
        sa.Column("problem", sa.Text, nullable=False, server_default=""),
        _moment("at", now=True),
        sa.CheckConstraint("state in ('fired', 'proposed', 'refused', 'skipped')", name="state"),
    )
    op.create_index(
        "ix_schedule_ticks_proposed",
        "schedule_ticks",
        ["at"],
        postgresql_where=sa.text("state = 'proposed'"),
    )
    op.create_index("ix_schedule_ticks_at", "schedule_ticks", ["at"], postgresql_using="brin")


def downgrade() -> None:
    op.drop_table("schedule_ticks")
    op.drop_table("schedules")
