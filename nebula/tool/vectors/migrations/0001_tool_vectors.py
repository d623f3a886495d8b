"""Create the cache of tool vectors."""

import sqlalchemy as sa
from alembic import op

revision = "tool_index_0001"
down_revision = None
branch_labels = ("tool_index",)
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "tool_vectors",
        sa.Column("catalogue", sa.String(), nullable=False),
        sa.Column("embedding", sa.String(), nullable=False),
        sa.Column("vectors", sa.LargeBinary(), nullable=False),
        sa.Column(
            "used_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.PrimaryKeyConstraint("catalogue", "embedding", name="pk_tool_vectors"),
    )
    op.create_index("ix_tool_vectors_used_at", "tool_vectors", ["used_at"])


def downgrade() -> None:
    """Drop the table: it is only a cache."""
    op.drop_table("tool_vectors")
