"""The machines that joined, and their join tokens."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "nodes_0001"
down_revision = None
branch_labels = ("nodes",)
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "nodes",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("secret_hash", sa.Text, nullable=False, unique=True),
        sa.Column("key_sealed", sa.LargeBinary, nullable=False),
        sa.Column("hardware", JSONB, nullable=False),
        sa.Column("found", JSONB, server_default="[]", nullable=False),
        sa.Column("beat", JSONB),
        sa.Column("joined_at", MOMENT, server_default=sa.func.now(), nullable=False),
        sa.Column("heartbeat_at", MOMENT),
    )
    op.create_table(
        "node_join_tokens",
        sa.Column("token_hash", sa.Text, primary_key=True),
        sa.Column("made_by", sa.Text, nullable=False),
        sa.Column("created_at", MOMENT, server_default=sa.func.now(), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("used_at", MOMENT),
        sa.Column("used_by", sa.Text, sa.ForeignKey("nodes.name", ondelete="SET NULL")),
    )


def downgrade() -> None:
    op.drop_table("node_join_tokens")
    op.drop_table("nodes")
