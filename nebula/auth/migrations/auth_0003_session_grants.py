"""What a conversation may be used for, where that is less than its person may."""

import sqlalchemy as sa
from alembic import op

revision = "auth_0003"
down_revision = "auth_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    now = sa.text("clock_timestamp()")
    op.create_table(
        "auth_session_grants",
        sa.Column("session_id", sa.Text, primary_key=True),
        sa.Column("allowed", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("denied", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False, server_default=now),
    )
    op.create_index("ix_auth_session_grants_changed_at", "auth_session_grants", ["changed_at"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("auth_session_grants")
