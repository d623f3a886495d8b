"""Cards, what is on them, who waits, who holds a lease, and what was decided."""

import sqlalchemy as sa
from alembic import op

revision = "gpu_0001"
down_revision = None
branch_labels = ("gpu",)
depends_on = None

_TIME = sa.DateTime(timezone=True)
_NOW = sa.text("clock_timestamp()")


def _text(name: str, default: str | None = None, *, nullable: bool = False) -> "sa.Column[str]":
    return sa.Column(name, sa.Text, nullable=nullable, server_default=default)


def _time(name: str, *, nullable: bool = False) -> "sa.Column[object]":
    return sa.Column(name, _TIME, nullable=nullable, server_default=None if nullable else _NOW)


def _flag(name: str, default: str) -> "sa.Column[bool]":
    return sa.Column(name, sa.Boolean, nullable=False, server_default=default)


def _bytes(name: str, default: str | None = None, *, nullable: bool = False) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger, nullable=nullable, server_default=default)


def _card() -> "sa.Column[str]":
    return sa.Column(
        "card", sa.Text, sa.ForeignKey("gpu_cards.id", ondelete="CASCADE"), nullable=False
    )


def upgrade() -> None:
    op.create_table(
        "gpu_cards",
        sa.Column("id", sa.Text, primary_key=True),
        _text("node"),
        sa.Column("gpu", sa.Integer, nullable=False),
        _text("name", nullable=True),
        _bytes("capacity"),
        _bytes("kept", "0"),
        _bytes("reserved", "0"),
        _bytes("foreign_used", "0"),
        _bytes("last_token", "0"),
        _flag("healthy", "true"),
        _flag("draining", "false"),
        _flag("simulated", "false"),
        sa.Column("utilization", sa.Double),
        _time("seen_at"),
        sa.CheckConstraint("reserved >= 0 AND reserved <= capacity", name="reserved"),
    )
    op.create_index("ix_gpu_cards_place", "gpu_cards", ["node", "gpu"], unique=True)
    op.create_table(
        "gpu_residents",
        sa.Column("id", sa.Text, primary_key=True),
        _card(),
        _text("service"),
        _text("model", nullable=True),
        _bytes("vram"),
        _bytes("measured", nullable=True),
        _text("state"),
        _text("loader", nullable=True),
        _flag("busy", "false"),
        _time("changed_at"),
        _time("last_used_at", nullable=True),
        sa.CheckConstraint("vram >= 0", name="vram"),
        sa.CheckConstraint("state in ('loading', 'loaded', 'leaving')", name="state"),
    )
    op.create_index("ix_gpu_residents_card", "gpu_residents", ["card"])
    _requests()
    _leases()
    op.create_table(
        "gpu_decisions",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        _time("at"),
        _text("kind"),
        _text("card", nullable=True),
        _text("label"),
        _text("request_id", nullable=True),
        _text("reason"),
    )
    op.create_index("ix_gpu_decisions_at", "gpu_decisions", ["at"])


def _requests() -> None:
    op.create_table(
        "gpu_requests",
        sa.Column("id", sa.Text, primary_key=True),
        _text("state", "waiting"),
        _text("klass"),
        _text("owner_id"),
        _text("owner_name"),
        _text("service", nullable=True),
        _text("model", nullable=True),
        _text("bucket", ""),
        _text("what", ""),
        _bytes("vram", nullable=True),
        sa.Column("run_seconds", sa.Double),
        _text("node", nullable=True),
        _flag("yields", "false"),
        sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
        _text("job_id", nullable=True),
        _text("because", ""),
        _time("created_at"),
        _time("seen_at", nullable=True),
        sa.CheckConstraint("state in ('waiting', 'placed', 'done', 'withdrawn')", name="state"),
    )
    op.create_index(
        "ix_gpu_requests_job",
        "gpu_requests",
        ["job_id"],
        unique=True,
        postgresql_where=sa.text("state in ('waiting', 'placed')"),
    )
    op.create_index(
        "ix_gpu_requests_waiting",
        "gpu_requests",
        ["created_at"],
        postgresql_where=sa.text("state = 'waiting'"),
    )


def _leases() -> None:
    op.create_table(
        "gpu_leases",
        sa.Column("id", sa.Text, primary_key=True),
        _text("request_id", nullable=True),
        _bytes("token"),
        _card(),
        _text("resident", nullable=True),
        _text("service", nullable=True),
        _text("model", nullable=True),
        _text("bucket", ""),
        _text("what", ""),
        _bytes("vram"),
        _text("klass"),
        _text("owner_id"),
        _text("owner_name"),
        _text("job_id", nullable=True),
        _text("holder", nullable=True),
        _text("state", "active"),
        _flag("yields", "false"),
        _flag("should_yield", "false"),
        sa.Column("expected_seconds", sa.Double),
        _bytes("peak", nullable=True),
        _time("created_at"),
        _time("started_at", nullable=True),
        sa.Column("expires_at", _TIME, nullable=False),
        _time("ended_at", nullable=True),
        _text("end_reason", ""),
        sa.CheckConstraint("vram >= 0", name="vram"),
        sa.CheckConstraint("state in ('active', 'releasing', 'ended', 'lost')", name="state"),
    )
    open_lease = sa.text("state in ('active', 'releasing')")
    op.create_index("ix_gpu_leases_token", "gpu_leases", ["card", "token"], unique=True)
    for name, column, where in (
        ("open", "card", sa.text("state <> 'ended'")),
        ("ended", "ended_at", sa.text("state = 'ended'")),
    ):
        op.create_index(f"ix_gpu_leases_{name}", "gpu_leases", [column], postgresql_where=where)
    op.create_index(
        "ix_gpu_leases_job", "gpu_leases", ["job_id"], unique=True, postgresql_where=open_lease
    )
