"""The messages that follow background jobs."""

import sqlalchemy as sa
from alembic import op

revision = "discord_0003"
down_revision = "discord_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "discord_jobs",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("discord_id", sa.Text(), nullable=False),
        sa.Column("closed", sa.Boolean(), server_default="false", nullable=False),
        sa.Column(
            "at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("job_id", "channel_id", name=op.f("pk_discord_jobs")),
    )
    op.create_index(
        "ix_discord_jobs_open", "discord_jobs", ["at"], postgresql_where=sa.text("not closed")
    )
    op.create_index("ix_discord_jobs_message", "discord_jobs", ["message_id"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("discord_jobs")
