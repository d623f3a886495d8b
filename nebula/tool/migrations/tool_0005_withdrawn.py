"""A question may be withdrawn: what asked it does not go on."""

from alembic import op

revision = "tool_0005"
down_revision = "tool_0004"
branch_labels = None
depends_on = None

_STATES = "'pending', 'approved', 'denied', 'changes_requested', 'used', 'expired', 'withdrawn'"


def upgrade() -> None:
    op.drop_constraint("state", "approvals", type_="check")
    op.create_check_constraint("state", "approvals", f"state in ({_STATES})")
