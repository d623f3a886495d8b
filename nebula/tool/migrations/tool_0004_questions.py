"""What a question weighs and rests on, who answered it, and the grants that repeated answers earn."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "tool_0004"
down_revision = "tool_0003"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    for column in (
        sa.Column("level", sa.Text, nullable=False, server_default="normal"),
        sa.Column("rule", sa.Text, nullable=False, server_default=""),
        sa.Column("four_eyes", sa.Text, nullable=False, server_default="auto"),
        sa.Column("evidence", JSONB, nullable=False, server_default="{}"),
        sa.Column("decided_by_id", sa.Text),
    ):
        op.add_column("approvals", column)
    op.create_index("ix_approvals_tool", "approvals", ["principal_id", "tool", "created_at"])
    op.create_table(
        "policy_grants",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("tool", sa.Text, nullable=False),
        sa.Column("selectors", JSONB, nullable=False),
        sa.Column("principal_id", sa.Text, nullable=False),
        sa.Column("principal_name", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default="proposed"),
        sa.Column("uses", sa.Integer, nullable=False, server_default="0"),
        sa.Column("created_at", _TIME, nullable=False, server_default=sa.text("clock_timestamp()")),
        sa.Column("decided_by", sa.Text),
        sa.Column("expires_at", _TIME),
        sa.Column("last_used_at", _TIME),
        sa.Column("ended_at", _TIME),
        sa.Column("ended_because", sa.Text, nullable=False, server_default=""),
        sa.CheckConstraint(
            "state in ('proposed', 'active', 'declined', 'withdrawn')", name="state"
        ),
        sa.CheckConstraint("state != 'active' or expires_at is not null", name="expires"),
    )
    op.create_index("ix_policy_grants_who", "policy_grants", ["principal_id", "tool", "state"])
