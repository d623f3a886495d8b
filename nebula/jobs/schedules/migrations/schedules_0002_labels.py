"""Keep with each schedule what whoever made it had read."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "schedules_0002_labels"
down_revision = "schedules_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; schedules made before count as their owners' own words."""
    op.add_column(
        "schedules",
        sa.Column("labels", JSONB, nullable=False, server_default=sa.text("'[\"user\"]'")),
    )


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("schedules", "labels")
