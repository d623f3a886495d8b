"""Collections, documents and chunks."""

from alembic import op

revision = "knowledge_0001"
down_revision = None
branch_labels = ("knowledge",)
depends_on = None


def upgrade() -> None:
    """Create the three tables and the two search indexes."""
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    op.execute(
        """
        CREATE TABLE knowledge_collections (
            id bigint GENERATED ALWAYS AS IDENTITY,
            name text NOT NULL,
            model text NOT NULL,
            dimension integer NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT pk_knowledge_collections PRIMARY KEY (id),
            CONSTRAINT uq_knowledge_collections_name UNIQUE (name)
        )
        """
    )
    op.execute(
        """
        CREATE TABLE knowledge_documents (
            id uuid NOT NULL DEFAULT gen_random_uuid(),
            collection_id bigint NOT NULL,
            source text NOT NULL,
            added_from text NOT NULL,
            kind text NOT NULL,
            title text NOT NULL,
            owner text NOT NULL,
            owner_name text NOT NULL,
            visibility text NOT NULL,
            role text NOT NULL,
            label text NOT NULL,
            content_hash text NOT NULL,
            size_bytes bigint NOT NULL,
            chunks integer NOT NULL,
            added_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT pk_knowledge_documents PRIMARY KEY (id),
            CONSTRAINT fk_knowledge_documents_collection_id_knowledge_collections
                FOREIGN KEY (collection_id) REFERENCES knowledge_collections (id) ON DELETE CASCADE,
            CONSTRAINT uq_knowledge_documents_collection_id_owner_source UNIQUE (collection_id, owner, source),
            CONSTRAINT ck_knowledge_documents_visibility
                CHECK (visibility IN ('private', 'role', 'everyone'))
        )
        """
    )
    op.execute(
        "CREATE INDEX ix_knowledge_documents_owner_added_from"
        " ON knowledge_documents (owner, added_from)"
    )
    op.execute(
        """
        CREATE TABLE knowledge_chunks (
            id bigint GENERATED ALWAYS AS IDENTITY,
            document_id uuid NOT NULL,
            position integer NOT NULL,
            section integer NOT NULL,
            heading text NOT NULL,
            place text NOT NULL,
            text text NOT NULL,
            hash text NOT NULL,
            words tsvector NOT NULL GENERATED ALWAYS AS (
                setweight(to_tsvector('english'::regconfig, heading), 'A')
                || to_tsvector('english'::regconfig, text)
            ) STORED,
            embedding halfvec(384) NOT NULL,
            CONSTRAINT pk_knowledge_chunks PRIMARY KEY (id),
            CONSTRAINT fk_knowledge_chunks_document_id_knowledge_documents
                FOREIGN KEY (document_id) REFERENCES knowledge_documents (id) ON DELETE CASCADE
        )
        """
    )
    # Everything in the row itself: a search reads vectors and words of many passages, and would
    # otherwise fetch each from TOAST.
    op.execute("ALTER TABLE knowledge_chunks SET (toast_tuple_target = 8160)")
    op.execute("ALTER TABLE knowledge_chunks ALTER COLUMN embedding SET STORAGE PLAIN")
    op.execute("CREATE INDEX ix_knowledge_chunks_words ON knowledge_chunks USING gin (words)")
    op.execute(
        "CREATE INDEX ix_knowledge_chunks_document_id_position"
        " ON knowledge_chunks (document_id, position)"
    )
    op.execute(
        "CREATE INDEX ix_knowledge_chunks_embedding ON knowledge_chunks"
        " USING hnsw (embedding halfvec_cosine_ops) WITH (m = 16, ef_construction = 128)"
    )


def downgrade() -> None:
    """Drop what `upgrade` made; the extension stays."""
    op.execute("DROP TABLE knowledge_chunks")
    op.execute("DROP TABLE knowledge_documents")
    op.execute("DROP TABLE knowledge_collections")
