"""Webhooks and their deliveries."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "webhooks_0001"
down_revision = None
branch_labels = ("webhooks",)
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("form", sa.Text(), nullable=False),
        sa.Column("where", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("secret_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("previous_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("previous_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("problem", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "form in ('standard', 'github', 'twitch')", name=op.f("ck_webhooks_form")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index("uq_webhooks_owner_name", "webhooks", ["owner_id", "name"], unique=True)
    op.create_table(
        "webhooks_deliveries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("webhook_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column(
            "at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "outcome in ('told', 'filtered', 'noted')", name=op.f("ck_webhooks_deliveries_outcome")
        ),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["webhooks.id"],
            name=op.f("fk_webhooks_deliveries_webhook_id_webhooks"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks_deliveries")),
    )
    op.create_index(
        "ix_webhooks_deliveries_at", "webhooks_deliveries", ["webhook_id", "at"], unique=False
    )
    op.create_index(
        "uq_webhooks_deliveries_key", "webhooks_deliveries", ["webhook_id", "key"], unique=True
    )


def downgrade() -> None:
    """Drop the tables with every webhook."""
    op.drop_index("uq_webhooks_deliveries_key", table_name="webhooks_deliveries")
    op.drop_index("ix_webhooks_deliveries_at", table_name="webhooks_deliveries")
    op.drop_table("webhooks_deliveries")
    op.drop_index("uq_webhooks_owner_name", table_name="webhooks")
    op.drop_table("webhooks")
