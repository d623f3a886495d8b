"""Create the tables of the Discord door."""

import sqlalchemy as sa
from alembic import op

revision = "discord_0001"
down_revision = None
branch_labels = ("discord",)
depends_on = None


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "discord_accounts",
        sa.Column("discord_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "linked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("discord_id", name=op.f("pk_discord_accounts")),
    )
    op.create_index(
        op.f("ix_discord_accounts_user_id"), "discord_accounts", ["user_id"], unique=False
    )
    op.create_table(
        "discord_bot",
        sa.Column("one", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("application_id", sa.Text(), server_default="", nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("commands_sha256", sa.Text(), server_default="", nullable=False),
        sa.Column("state", sa.Text(), server_default="off", nullable=False),
        sa.Column("problem", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.CheckConstraint("one", name=op.f("ck_discord_bot_only_row")),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_discord_bot")),
    )
    op.create_table(
        "discord_cards",
        sa.Column("approval_id", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("discord_id", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed", sa.Boolean(), server_default="false", nullable=False),
        sa.PrimaryKeyConstraint("approval_id", name=op.f("pk_discord_cards")),
    )
    op.create_table(
        "discord_codes",
        sa.Column("code_hash", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("code_hash", name=op.f("pk_discord_codes")),
    )
    op.create_table(
        "discord_servers",
        sa.Column("guild_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("present", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("channels", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("roles", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("answer_in", sa.Text(), server_default="thread", nullable=False),
        sa.Column(
            "changed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "answer_in in ('thread', 'reply')", name=op.f("ck_discord_servers_answer_in")
        ),
        sa.PrimaryKeyConstraint("guild_id", name=op.f("pk_discord_servers")),
    )
    op.create_table(
        "discord_sessions",
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("discord_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("guild_id", sa.Text(), nullable=True),
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.Column(
            "used_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("place", "discord_id", name=op.f("pk_discord_sessions")),
    )
    op.create_index(
        op.f("ix_discord_sessions_session_id"), "discord_sessions", ["session_id"], unique=False
    )
    op.create_table(
        "discord_turns",
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("turn_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("discord_id", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.Column("shown", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("settled", sa.Integer(), server_default="0", nullable=False),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column(
            "at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.CheckConstraint(
            "state in ('open', 'waiting', 'shown')", name=op.f("ck_discord_turns_state")
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_discord_turns")),
    )
    op.create_index(
        op.f("ix_discord_turns_channel_id"), "discord_turns", ["channel_id"], unique=False
    )
    op.create_index(
        op.f("ix_discord_turns_session_id"), "discord_turns", ["session_id"], unique=False
    )
    op.create_index(
        "ix_discord_turns_shown", "discord_turns", ["shown"], unique=False, postgresql_using="gin"
    )
    op.create_index(
        "ix_discord_turns_unfinished",
        "discord_turns",
        ["at"],
        unique=False,
        postgresql_where="state <> 'shown'",
    )


def downgrade() -> None:
    """Drop them with everything that was linked and set."""
    op.drop_index(
        "ix_discord_turns_unfinished",
        table_name="discord_turns",
        postgresql_where="state <> 'shown'",
    )
    op.drop_index("ix_discord_turns_shown", table_name="discord_turns", postgresql_using="gin")
    op.drop_index(op.f("ix_discord_turns_session_id"), table_name="discord_turns")
    op.drop_index(op.f("ix_discord_turns_channel_id"), table_name="discord_turns")
    op.drop_table("discord_turns")
    op.drop_index(op.f("ix_discord_sessions_session_id"), table_name="discord_sessions")
    op.drop_table("discord_sessions")
    op.drop_table("discord_servers")
    op.drop_table("discord_codes")
    op.drop_table("discord_cards")
    op.drop_table("discord_bot")
    op.drop_index(op.f("ix_discord_accounts_user_id"), table_name="discord_accounts")
    op.drop_table("discord_accounts")
