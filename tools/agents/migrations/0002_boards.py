"""Boards: a task given to several agents, and what one agent hands to another."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "agents_0002"
down_revision = "agents_0001"
branch_labels = None
depends_on = None


def _json(name: str, default: str | None = None, *, nullable: bool = False) -> sa.Column:
    kind = postgresql.JSONB(astext_type=sa.Text())
    return sa.Column(name, kind, server_default=default, nullable=nullable)


def _moment(name: str, *, now: bool = False, nullable: bool = False) -> sa.Column:
    default = sa.text("clock_timestamp()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def upgrade() -> None:
    """Create the boards, and widen the runs."""
    op.add_column("agent_runs", _json("handed", "[]"))
    op.add_column("agent_runs", _json("within", nullable=True))
    op.add_column(
        "agent_runs", sa.Column("stop_asked", sa.Boolean(), server_default="false", nullable=False)
    )
    op.create_table(
        "agent_boards",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("owner_name", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=True),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("at_least", sa.Integer(), nullable=False),
        sa.Column("wait", sa.Boolean(), nullable=False),
        _json("labels"),
        _json("within"),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("outcome", sa.Text(), server_default="", nullable=False),
        _moment("created_at", now=True),
        _moment("deadline"),
        _moment("ended_at", nullable=True),
        sa.CheckConstraint("mode in ('together', 'chain')", name=op.f("ck_agent_boards_mode")),
        sa.CheckConstraint(
            "state in ('open', 'done', 'failed', 'cancelled')", name=op.f("ck_agent_boards_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agent_boards")),
    )
    op.create_index("uq_agent_boards_cause", "agent_boards", ["owner_id", "cause"], unique=True)
    op.create_index("ix_agent_boards_owner", "agent_boards", ["owner_id", "created_at"])
    op.create_index(
        "ix_agent_boards_open",
        "agent_boards",
        ["created_at"],
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "agent_board_members",
        sa.Column("board_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("joins", sa.Boolean(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), server_default="", nullable=False),
        sa.Column("report", sa.Text(), server_default="", nullable=False),
        _json("labels", "[]"),
        sa.Column("problem", sa.Text(), server_default="", nullable=False),
        sa.Column("seconds", sa.Float(), server_default="0", nullable=False),
        sa.Column("tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["board_id"],
            ["agent_boards.id"],
            name=op.f("fk_agent_board_members_board_id_agent_boards"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("board_id", "position", name=op.f("pk_agent_board_members")),
    )


def downgrade() -> None:
    """Drop the boards, and what runs were handed."""
    op.drop_table("agent_board_members")
    op.drop_table("agent_boards")
    for name in ("stop_asked", "within", "handed"):
        op.drop_column("agent_runs", name)
