"""When a signed-in person last showed who they are."""

import sqlalchemy as sa
from alembic import op

revision = "auth_0002"
down_revision = "auth_0001"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Count sign-ins that are open already as shown when they began, not now."""
    op.add_column("auth_sessions", sa.Column("proven_at", _MOMENT))
    op.execute("UPDATE auth_sessions SET proven_at = created_at")
    op.alter_column("auth_sessions", "proven_at", nullable=False, server_default=sa.func.now())


def downgrade() -> None:
    """Forget it."""
    op.drop_column("auth_sessions", "proven_at")
