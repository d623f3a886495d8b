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


# The collections that can be compared with the question: looked up once per statement.
_COLLECTIONS = """CAST((
        SELECT coalesce(array_agg(id), '{}') FROM knowledge_collections
        WHERE model = :model AND (CAST(:collection AS text) IS NULL OR name = :collection)
    ) AS bigint[])"""


def _statement(*parts: str) -> TextClause:
    sql = "".join(parts).replace("<may read>", _MAY_READ).replace("<rights>", _RIGHTS)
    # The driver reads a statement anew for every search when it is longer than 4,096 bytes.
    return text(" ".join(sql.replace("<collections>", _COLLECTIONS).split()))


# How much there is, and how much of it the reader may read.
COUNTED = _statement(
    """
    SELECT coalesce(sum(chunks) FILTER (WHERE may_read), 0) AS readable,
           coalesce(sum(chunks), 0) AS total,
           count(*) FILTER (WHERE may_read) AS documents
    FROM (SELECT d.chunks, <rights> AS may_read FROM knowledge_documents d) counted
    """
)

# How common words are, as PostgreSQL's own statistics have it.
USUAL = text(
    """
    SELECT json_build_object(
        'least', shares[cardinality(words) + 1],
        'shares', (SELECT json_object_agg(word, share) FILTER (WHERE word IS NOT NULL)
                   FROM unnest(words, shares) AS common (word, share)))
    FROM (SELECT CAST(CAST(most_common_elems AS text) AS text[]) AS words,
                 most_common_elem_freqs AS shares
          FROM pg_stats
          WHERE schemaname = current_schema() AND tablename = 'knowledge_chunks'
            AND attname = 'words' AND NOT inherited) usual
    """
)

WORDS = text("SELECT tsvector_to_array(to_tsvector('english', :query))")

# The settings of a search's transaction. `ef` says how many passages the index meets at least.
SETTINGS = text(
    """
    SELECT set_config('plan_cache_mode', 'force_generic_plan', true),
           set_config('hnsw.iterative_scan', 'strict_order', true),
           set_config('hnsw.ef_search', :ef, true),
           set_config('enable_seqscan', 'off', true)
    """
)

# `every` wants all words, phrases and exclusions as they were asked; `loose` any rare word, or
# any word at all when nobody says which are rare.
_ASKED = """
WITH asked AS MATERIALIZED (
    SELECT every,
           CASE WHEN CAST(every AS text) LIKE '%!%' THEN every
                ELSE coalesce(CAST(:rare AS tsquery), any_word) END AS loose
    FROM websearch_to_tsquery('english', :query) every,
         (SELECT CAST(coalesce(string_agg(quote_literal(word), ' | '), '') AS tsquery) AS any_word
          FROM unnest(tsvector_to_array(to_tsvector('english', :query))) AS said (word)) said
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
       d.title, d.source, d.kind, k.name AS collection, CAST(f.score AS float8) AS score,
       1 - (c.embedding <=> CAST(:vector AS halfvec)) AS similarity, f.whole, d.label
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
