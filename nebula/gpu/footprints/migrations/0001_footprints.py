"""Measured footprints and how often models are wanted."""

import sqlalchemy as sa
from alembic import op

revision = "footprints_0001"
down_revision = None
branch_labels = ("footprints",)
depends_on = None

_TIME = sa.DateTime(timezone=True)
_NOW = sa.text("clock_timestamp()")


def upgrade() -> None:
    op.create_table(
        "gpu_footprints",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False, server_default=""),
        sa.Column("bucket", sa.Text, nullable=False, server_default=""),
        sa.Column("peak_vram", sa.BigInteger),
        sa.Column("load_seconds", sa.Double),
        sa.Column("run_seconds", sa.Double),
        sa.Column("at", _TIME, nullable=False, server_default=_NOW),
    )
    op.create_index("ix_gpu_footprints_key", "gpu_footprints", ["service", "model", "bucket", "id"])
    op.create_table(
        "gpu_uses",
        sa.Column("service", sa.Text, primary_key=True),
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("weight", sa.Double, nullable=False),
        sa.Column("at", _TIME, nullable=False, server_default=_NOW),
    )
