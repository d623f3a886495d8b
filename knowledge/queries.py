"""The statements of a search; `search` says when each one runs.

The driver prepares them and the server plans them once per connection (a generic plan):
planning takes longer than running. So limits are literal here, and every statement has a shape
whose good plan does not depend on its values.
"""

from sqlalchemy import TextClause, text

# What a reader may see, and what the question is narrowed to; `d` is a document.
_RIGHTS = """
    (d.owner = :me OR d.visibility = 'everyone'
     OR (d.visibility = 'role' AND (d.role = :role OR :sees_roles)))
    AND d.collection_id = ANY (<collections>)
    AND (CAST(:kind AS text) IS NULL OR d.kind = :kind)
    AND (CAST(:source AS text) IS NULL
         OR strpos(lower(d.source), lower(:source)) > 0
         OR strpos(lower(d.title), lower(:source)) > 0)
    AND (CAST(:owner AS text) IS NULL OR d.owner = :owner OR d.owner_name = :owner)
"""

# The rights asked per passage, by a sub-select that the planner cannot turn into a join: with a
# join it would give up the indexes.
_MAY_READ = "(SELECT <rights> FROM knowledge_documents d WHERE d.id = c.document_id)"


def _statement(*parts: str, collections: str = "CAST(:collections AS bigint[])") -> TextClause:
    sql = "".join(parts).replace("<may read>", _MAY_READ).replace("<rights>", _RIGHTS)
    return text(sql.replace("<collections>", collections))


# How much there is to read, and the settings of this transaction. When the indexes are worth
# using, also how common the question's words are, as PostgreSQL's own statistics have it.
PLAN = _statement(
    """
    WITH shelf AS MATERIALIZED (
        SELECT coalesce(array_agg(id), '{}') AS ids FROM knowledge_collections
        WHERE model = :model AND (CAST(:collection AS text) IS NULL OR name = :collection)
    ),
    said AS MATERIALIZED (
        SELECT tsvector_to_array(to_tsvector('english', :query)) AS words
    ),
    usual AS (
        SELECT CAST(CAST(most_common_elems AS text) AS text[]) AS words,
               most_common_elem_freqs AS shares
        FROM pg_stats
        WHERE schemaname = current_schema() AND tablename = 'knowledge_chunks'
          AND attname = 'words' AND NOT inherited
    )
    SELECT (SELECT ids FROM shelf) AS collections,
           coalesce(sum(chunks) FILTER (WHERE may_read), 0) AS readable,
           coalesce(sum(chunks), 0) AS total,
           count(*) FILTER (WHERE may_read) AS documents,
           (SELECT words FROM said) AS words,
           CASE WHEN sum(chunks) FILTER (WHERE may_read) > :exact_rows THEN (
               SELECT json_build_object(
                   'least', shares[cardinality(words) + 1],
                   'shares', (SELECT json_object_agg(word, share)
                              FROM unnest(usual.words, usual.shares) AS common (word, share)
                              WHERE word = ANY (CAST((SELECT words FROM said) AS text[]))))
               FROM usual) END AS usual,
           set_config('plan_cache_mode', 'force_generic_plan', true),
           set_config('hnsw.iterative_scan', 'strict_order', true),
           set_config('hnsw.ef_search', '120', true),
           set_config('enable_seqscan', 'off', true)
    FROM (SELECT d.chunks, <rights> AS may_read FROM knowledge_documents d) counted
    """,
    collections="CAST((SELECT ids FROM shelf) AS bigint[])",
)

LOOK_WIDER = text("SELECT set_config('hnsw.ef_search', :ef, true)")

# `every` wants all words, phrases and exclusions as they were asked; `loose` any rare word.
_ASKED = """
WITH asked AS MATERIALIZED (
    SELECT every,
           CASE WHEN CAST(every AS text) LIKE '%!%' THEN every
                ELSE CAST(:rare AS tsquery) END AS loose
    FROM websearch_to_tsquery('english', :query) every
),
"""

# One pass over every readable passage: measured, and matched against the words.
_MEASURED = """
measured AS MATERIALIZED (
    SELECT c.id, c.embedding <=> CAST(:vector AS halfvec) AS distance,
           c.words @@ a.every AS whole,
           CASE WHEN c.words @@ a.every OR c.words @@ a.loose
                THEN ts_rank(c.words, a.every || a.loose, 1) END AS rank
    FROM asked a, knowledge_documents d
    JOIN knowledge_chunks c ON c.document_id = d.id
    WHERE <rights>
),
near AS MATERIALIZED (
    SELECT id, distance FROM measured ORDER BY distance LIMIT 40
),
worded AS MATERIALIZED (
    SELECT id, whole, rank FROM measured WHERE rank IS NOT NULL
    ORDER BY whole DESC, rank DESC, id LIMIT 40
),
"""

# The vector index gives passages by distance, the word index those with every word first, then
# those with any rare word: 2,000 candidates are ranked at most.
_INDEXED = """
near AS MATERIALIZED (
    SELECT c.id, c.embedding <=> CAST(:vector AS halfvec) AS distance
    FROM knowledge_chunks c
    WHERE <may read>
    ORDER BY c.embedding <=> CAST(:vector AS halfvec)
    LIMIT 40
),
candidates AS MATERIALIZED (
    (SELECT c.id, c.words, true AS whole FROM knowledge_chunks c
     WHERE c.words @@ (SELECT every FROM asked) AND <may read> LIMIT 1000)
    UNION ALL
    (SELECT c.id, c.words, false FROM knowledge_chunks c
     WHERE c.words @@ (SELECT loose FROM asked) AND <may read> LIMIT 1000)
),
worded AS MATERIALIZED (
    SELECT id, bool_or(whole) AS whole,
           max(ts_rank(words, (SELECT every || loose FROM asked), 1)) AS rank
    FROM candidates GROUP BY id
    ORDER BY whole DESC, rank DESC, id LIMIT 40
),
"""

_FUSED = """
fused AS (
    SELECT id, sum(points) AS score, bool_or(whole) AS whole
    FROM (
        SELECT id, 1.0 / (60 + row_number() OVER (ORDER BY distance)) AS points, false AS whole
        FROM near
        UNION ALL
        SELECT id, 1.0 / (60 + row_number() OVER (ORDER BY whole DESC, rank DESC, id)), whole
        FROM worded
    ) ranked
    GROUP BY id
)
SELECT c.id AS chunk, c.document_id, c.section, c.position, c.heading, c.place, c.text,
       d.title, d.source, d.kind, d.label, k.name AS collection,
       f.score, f.whole, 1 - (c.embedding <=> CAST(:vector AS halfvec)) AS similarity
FROM fused f
JOIN knowledge_chunks c ON c.id = f.id
JOIN knowledge_documents d ON d.id = c.document_id
JOIN knowledge_collections k ON k.id = d.collection_id
ORDER BY f.score DESC, similarity DESC, c.id
LIMIT :limit
"""

BY_SCAN = _statement(_ASKED, _MEASURED, _FUSED)
BY_INDEX = _statement(_ASKED, _INDEXED, _FUSED)

NEIGHBOURS = text(
    """
    SELECT text FROM knowledge_chunks
    WHERE document_id = :document AND section = :section
      AND position BETWEEN :first AND :last
    ORDER BY position
    """
)
