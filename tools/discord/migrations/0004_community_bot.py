"""Create the tables of the community bot."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "discord_0004"
down_revision = "discord_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "discord_actions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("guild_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("target_id", sa.Text(), server_default="", nullable=False),
        sa.Column("target_name", sa.Text(), server_default="", nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=True),
        sa.Column("rule", sa.Text(), server_default="", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "detail", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False
        ),
        sa.Column("offence", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("by", sa.Text(), server_default="", nullable=False),
        sa.Column("state", sa.Text(), server_default="due", nullable=False),
        sa.Column("problem", sa.Text(), server_default="", nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "not_before",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column(
            "at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "state in ('due', 'doing', 'done', 'told', 'failed', 'undone', 'dropped')",
            name=op.f("ck_discord_actions_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_discord_actions")),
    )
    op.create_index("ix_discord_actions_at", "discord_actions", ["guild_id", "at"], unique=False)
    op.create_index(
        "ix_discord_actions_due",
        "discord_actions",
        ["not_before"],
        unique=False,
        postgresql_where="state in ('due', 'doing')",
    )
    op.create_index(
        "ix_discord_actions_target",
        "discord_actions",
        ["guild_id", "target_id", "at"],
        unique=False,
    )
    op.create_table(
        "discord_communities",
        sa.Column("guild_id", sa.Text(), nullable=False),
        sa.Column("settings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("owner_name", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("revision", sa.Integer(), server_default="1", nullable=False),
        sa.Column(
            "changed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("guild_id", name=op.f("pk_discord_communities")),
    )
    op.create_table(
        "discord_counter",
        sa.Column("one", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("one", name=op.f("ck_discord_counter_only_row")),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_discord_counter")),
    )
    op.create_table(
        "discord_counts",
        sa.Column("guild_id", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "kind in ('message', 'join', 'leave', 'command')", name=op.f("ck_discord_counts_kind")
        ),
        sa.PrimaryKeyConstraint("guild_id", "day", "kind", "key", name=op.f("pk_discord_counts")),
    )
    op.create_table(
        "discord_messages",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("guild_id", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.Column("channel_name", sa.Text(), server_default="", nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("schedule_id", sa.Text(), nullable=True),
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_discord_messages")),
    )


def downgrade() -> None:
    """Drop them with everything that was set, done and counted."""
    op.drop_table("discord_messages")
    op.drop_table("discord_counts")
    op.drop_table("discord_counter")
    op.drop_table("discord_communities")
    op.drop_index("ix_discord_actions_target", table_name="discord_actions")
    op.drop_index(
        "ix_discord_actions_due",
        table_name="discord_actions",
        postgresql_where="state in ('due', 'doing')",
    )
    op.drop_index("ix_discord_actions_at", table_name="discord_actions")
    op.drop_table("discord_actions")
