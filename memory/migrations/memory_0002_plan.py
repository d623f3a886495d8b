"""The plan that a turn followed, beside its answer."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "memory_0002"
down_revision = "memory_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; answers of before have no plan."""
    op.add_column("session_messages", sa.Column("plan", JSONB, server_default="[]", nullable=False))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("session_messages", "plan")
