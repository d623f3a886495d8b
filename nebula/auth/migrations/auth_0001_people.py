"""People, sessions, keys and links."""

import sqlalchemy as sa
from alembic import op

revision = "auth_0001"
down_revision = None
branch_labels = ("auth",)
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables."""
    _users()
    _sessions()
    _keys()
    _links()
    op.create_table(
        "auth_attempts",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("last_at", MOMENT, server_default=sa.func.now(), nullable=False),
    )
    op.create_table(
        "auth_role_features",
        sa.Column("role", sa.Text, primary_key=True),
        sa.Column("features", sa.ARRAY(sa.Text), nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("auth_role_features", "auth_attempts", "auth_links", "api_keys"):
        op.drop_table(table)
    op.drop_table("auth_sessions")
    op.drop_table("users")


def _owner() -> sa.Column[str]:
    owner = sa.ForeignKey("users.id", ondelete="CASCADE")
    return sa.Column("user_id", sa.Text, owner, nullable=False, index=True)


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, MOMENT, server_default=sa.func.now(), nullable=False)


def _users() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("name_key", sa.Text, nullable=False, unique=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("password_hash", sa.Text),
        sa.Column("enabled", sa.Boolean, server_default=sa.true(), nullable=False),
        _now("created_at"),
        sa.Column("last_sign_in_at", MOMENT),
    )


def _sessions() -> None:
    op.create_table(
        "auth_sessions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("token_hash", sa.Text, nullable=False, unique=True),
        _owner(),
        sa.Column("device", sa.Text, server_default="", nullable=False),
        sa.Column("address", sa.Text, server_default="", nullable=False),
        _now("created_at"),
        _now("seen_at"),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("revoked_at", MOMENT),
    )


def _keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("key_hash", sa.Text, nullable=False, unique=True),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        _owner(),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text)),
        _now("created_at"),
        sa.Column("used_at", MOMENT),
        sa.Column("expires_at", MOMENT),
        sa.Column("revoked_at", MOMENT),
    )


def _links() -> None:
    op.create_table(
        "auth_links",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("token_hash", sa.Text, nullable=False, unique=True),
        _owner(),
        _now("created_at"),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("used_at", MOMENT),
    )
