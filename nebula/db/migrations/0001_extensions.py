"""The extensions every other branch may use."""

from alembic import op

revision = "db_0001"
down_revision = None
branch_labels = ("db",)
depends_on = None


def upgrade() -> None:
    for extension in ("vector", "pg_trgm", "unaccent"):
        op.execute(f"CREATE EXTENSION IF NOT EXISTS {extension}")


def downgrade() -> None:
    for extension in ("unaccent", "pg_trgm", "vector"):
        op.execute(f"DROP EXTENSION IF EXISTS {extension}")
