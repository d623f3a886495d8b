"""The kill switch, and what the day's limits count."""

import sqlalchemy as sa
from alembic import op

revision = "tool_0002"
down_revision = "tool_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tool_calls", sa.Column("cost", sa.Numeric(14, 4)))
    op.create_index("ix_tool_calls_day", "tool_calls", ["principal_id", "tool", "started_at"])
    op.create_table(
        "policy_pause",
        sa.Column("one", sa.Boolean, primary_key=True, server_default="true"),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column(
            "at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("clock_timestamp()"),
        ),
        sa.CheckConstraint("one", name="only_row"),
    )
