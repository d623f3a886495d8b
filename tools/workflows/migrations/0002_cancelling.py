"""A cancelled run goes through its last steps, until a moment."""

import sqlalchemy as sa
from alembic import op

revision = "workflows_0002"
down_revision = "workflows_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "workflow_runs", sa.Column("cancelled_by", sa.Text, nullable=False, server_default="")
    )
    op.add_column("workflow_runs", sa.Column("finish_by", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("workflow_runs", "finish_by")
    op.drop_column("workflow_runs", "cancelled_by")
