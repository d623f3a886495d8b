"""Jobs, their logs, and the workers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "jobs_0001"
down_revision = None
branch_labels = ("jobs",)
depends_on = None

_TIME = sa.DateTime(timezone=True)
_NOW = sa.text("clock_timestamp()")
_STATES = (
    "state in ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'timed_out', 'lost', "
    "'unknown')"
)

# The last word on a job stands, whatever a program tries.
_FORWARD = """
CREATE FUNCTION jobs_forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state NOT IN ('queued', 'running') AND NEW.state <> OLD.state THEN
        RAISE EXCEPTION 'job % has ended as %', OLD.id, OLD.state;
    END IF;
    IF NEW.attempts < OLD.attempts THEN
        RAISE EXCEPTION 'the attempts of job % only grow', OLD.id;
    END IF;
    RETURN NEW;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("tool", sa.Text, nullable=False),
        sa.Column("arguments", JSONB, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
        sa.Column("owner_id", sa.Text, nullable=False),
        sa.Column("owner_name", sa.Text, nullable=False),
        sa.Column("surface", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text),
        sa.Column("call_id", sa.Text, nullable=False),
        sa.Column("asked_as", JSONB, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("gated", sa.Boolean, nullable=False, server_default="false"),
        sa.Column("placed", sa.Boolean, nullable=False, server_default="false"),
        sa.Column("queue_id", sa.BigInteger),
        sa.Column("queued_at", _TIME),
        sa.Column("progress", JSONB, nullable=False, server_default="{}"),
        sa.Column("waits_because", sa.Text, nullable=False, server_default=""),
        sa.Column("result", JSONB),
        sa.Column("error", JSONB),
        sa.Column("artefacts", JSONB, nullable=False, server_default="[]"),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("cancel_requested", sa.Boolean, nullable=False, server_default="false"),
        sa.Column("cancelled_by", sa.Text),
        sa.Column("worker", sa.Text),
        sa.Column("log_lines", sa.Integer, nullable=False, server_default="0"),
        sa.Column("created_at", _TIME, nullable=False, server_default=_NOW),
        sa.Column("started_at", _TIME),
        sa.Column("finished_at", _TIME),
        sa.Column("simulated", sa.Boolean, nullable=False, server_default="false"),
        sa.CheckConstraint(_STATES, name="state"),
    )
    op.create_index("ix_jobs_owner", "jobs", ["owner_id", "created_at"])
    op.create_index(
        "ix_jobs_open",
        "jobs",
        ["state"],
        postgresql_where=sa.text("state in ('queued', 'running')"),
    )
    op.execute(_FORWARD)
    op.execute(
        "CREATE TRIGGER jobs_forward BEFORE UPDATE OF state, attempts ON jobs "
        "FOR EACH ROW EXECUTE FUNCTION jobs_forward()"
    )
    op.create_table(
        "job_log",
        sa.Column(
            "job_id", sa.Text, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("at", _TIME, nullable=False, server_default=_NOW),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_table(
        "job_workers",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("started_at", _TIME, nullable=False, server_default=_NOW),
        sa.Column("heartbeat_at", _TIME, nullable=False, server_default=_NOW),
    )
