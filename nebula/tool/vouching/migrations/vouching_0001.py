"""Steps of plans that have run, and values that a person has endorsed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "vouching_0001"
down_revision = None
branch_labels = ("vouching",)
depends_on = None


def _text(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.Text, nullable=nullable)


def _moment(name: str, *, now: bool = False, nullable: bool = False) -> sa.Column[object]:
    default = sa.func.clock_timestamp() if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "policy_step_uses",
        sa.Column("id", sa.Text, primary_key=True),
        _text("principal_id"),
        _text("call_id"),
        _moment("at", now=True),
    )
    op.create_index("ix_policy_step_uses_at", "policy_step_uses", ["at"], postgresql_using="brin")
    op.create_table(
        "policy_endorsements",
        sa.Column("id", sa.Text, primary_key=True),
        _text("principal_id"),
        _text("session_id"),
        _text("tool"),
        _text("selector"),
        sa.Column("value", JSONB, nullable=False),
        _text("endorsed_by"),
        _text("endorsed_where"),
        _moment("created_at", now=True),
        _moment("expires_at"),
        _moment("used_at", nullable=True),
        _text("used_by", nullable=True),
    )
    op.create_index(
        "ix_policy_endorsements_session_id", "policy_endorsements", ["session_id", "tool"]
    )
    op.create_index(
        "ix_policy_endorsements_created_at",
        "policy_endorsements",
        ["created_at"],
        postgresql_using="brin",
    )


def downgrade() -> None:
    """Drop both: planned steps and endorsed values of running requests ask a person again."""
    op.drop_table("policy_endorsements")
    op.drop_table("policy_step_uses")
