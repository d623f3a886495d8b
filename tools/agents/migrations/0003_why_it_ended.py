"""A run says by a code why it did not do what it should; an agent when it was changed last."""

import sqlalchemy as sa
from alembic import op

revision = "agents_0003"
down_revision = "agents_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("agent_runs", sa.Column("code", sa.Text, nullable=False, server_default=""))
    changed = sa.Column(
        "changed_at",
        sa.DateTime(timezone=True),
        nullable=False,
        server_default=sa.text("clock_timestamp()"),
    )
    op.add_column("agents", changed)


def downgrade() -> None:
    op.drop_column("agents", "changed_at")
    op.drop_column("agent_runs", "code")
