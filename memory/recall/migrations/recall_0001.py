"""What Jarvis remembers of a person."""

from alembic import op

revision = "recall_0001"
down_revision = None
branch_labels = ("recall",)
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE recall_memories (
            id uuid NOT NULL DEFAULT gen_random_uuid(),
            owner text NOT NULL,
            text text NOT NULL,
            hash text NOT NULL,
            label text NOT NULL,
            model text NOT NULL,
            words tsvector NOT NULL GENERATED ALWAYS AS (
                to_tsvector('english'::regconfig, text)
            ) STORED,
            embedding halfvec(384) NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT pk_recall_memories PRIMARY KEY (id),
            CONSTRAINT uq_recall_memories_owner_hash UNIQUE (owner, hash)
        )
        """
    )
    op.execute(
        "CREATE INDEX ix_recall_memories_owner_created_at ON recall_memories (owner, created_at)"
    )


def downgrade() -> None:
    op.execute("DROP TABLE recall_memories")
