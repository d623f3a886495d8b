"""Finding passages: fused ranks, filters, and what a person may read."""

import itertools

import numpy as np
import pytest
from sqlalchemy import text

from knowledge.library import Visibility
from knowledge.search import Filters, rare_words, reads_all, relevant
from nebula.auth.principal import Role

NOTES = """# Home

## The coffee machine

Descale the espresso maker every second month with citric acid.

## The printer

The printer's error E-4711 means that the drum is worn out.

## Backups

Nightly snapshots go to the cellar at three o'clock.
"""


async def test_a_question_in_other_words_finds_its_passage(library, search, person, shelf_of, page):
    ann = person("ann")
    await library.add(page("/n/home.md", NOTES), shelf_of(ann), added_from="/n/home.md")

    found = await search.find("how do I clean limescale out of my coffee maker", ann, limit=3)

    assert found.hits[0].heading == "Home › The coffee machine"
    assert found.hits[0].place == "#the-coffee-machine"
    assert relevant(found.hits[0])


async def test_a_rare_word_finds_its_passage(library, search, person, shelf_of, page):
    ann = person("ann")
    await library.add(page("/n/home.md", NOTES), shelf_of(ann), added_from="/n/home.md")

    found = await search.find("what is E-4711", ann, limit=3)

    assert "drum" in found.hits[0].text and found.hits[0].whole


async def test_an_unrelated_question_finds_nothing_relevant(
    library, search, person, shelf_of, page
):
    ann = person("ann")
    await library.add(page("/n/home.md", NOTES), shelf_of(ann), added_from="/n/home.md")

    found = await search.find("quarterly revenue of shipping companies", ann)

    assert not [hit for hit in found.hits if relevant(hit)]


@pytest.mark.parametrize(
    "query",
    ["", "   ", "' OR 1=1; --", "!", '"open quote', "a & | ! <-> (", "💥" * 50, "%s :me :query"],
)
async def test_any_text_is_a_harmless_question(library, search, person, shelf_of, page, query):
    ann = person("ann")
    await library.add(page("/n/home.md", NOTES), shelf_of(ann), added_from="/n/home.md")
    await search.find(query, ann)


def visible_to(reader_role, owner_is_reader, owner_role, visibility):
    """State the rule once more, independently of the query."""
    if owner_is_reader or visibility is Visibility.EVERYONE:
        return True
    return visibility is Visibility.ROLE and reader_role in {owner_role, Role.ADMIN}


async def test_every_role_finds_exactly_what_it_may_read(library, search, person, shelf_of, page):
    owners = {role: person(f"owner-{role}", role) for role in Role}
    for (role, owner), visibility in itertools.product(owners.items(), Visibility):
        name = f"{role}-{visibility}"
        await library.add(
            page(f"/d/{name}.md", f"# Plan\n\nThe secret plan of {name}."),
            shelf_of(owner, visibility),
            added_from=f"/d/{name}.md",
        )
    readers = [*owners.values(), *(person(f"reader-{role}", role) for role in Role)]
    for reader in readers:
        found = await search.find("the secret plan", reader, limit=50)
        expected = {
            f"/d/{role}-{visibility}.md"
            for (role, owner), visibility in itertools.product(owners.items(), Visibility)
            if visible_to(reader.role, owner.id == reader.id, role, visibility)
        }
        assert {hit.source for hit in found.hits} == expected, reader.name
        assert found.documents == len(expected)


async def test_filters_narrow_to_collection_kind_source_and_owner(
    library, search, person, shelf_of, page
):
    ann, bob = person("ann"), person("bob")
    everyone = Visibility.EVERYONE
    await library.add(
        page("/a/router.md", "# Router\n\nThe router restarts weekly."),
        shelf_of(ann, everyone),
        added_from="/a/router.md",
    )
    await library.add(
        page("/b/router-notes.md", "# Router\n\nThe router restarts daily."),
        shelf_of(bob, everyone, collection="network"),
        added_from="/b/router-notes.md",
    )

    async def sources(**filters):
        found = await search.find("router restarts", ann, filters=Filters(**filters))
        return {hit.source for hit in found.hits}

    both = {"/a/router.md", "/b/router-notes.md"}
    assert await sources() == both
    assert await sources(collection="network") == {"/b/router-notes.md"}
    assert await sources(owner="me") == {"/a/router.md"}
    assert await sources(owner="bob") == {"/b/router-notes.md"}
    assert await sources(source="NOTES") == {"/b/router-notes.md"}
    assert await sources(source="%") == set()
    assert await sources(kind="markdown") == both
    assert await sources(kind="pdf") == set()


async def test_a_passage_comes_with_its_neighbours_of_the_same_section(
    library, search, person, shelf_of, page
):
    ann = person("ann")
    long = "\n\n".join(f"Step {n}: " + f"word{n} " * 100 for n in range(6))
    await library.add(
        page("/n/long.md", f"# Before\n\nother\n\n# Steps\n\n{long}"),
        shelf_of(ann),
        added_from="/n/long.md",
    )
    found = await search.find("word2", ann, limit=1)

    around = await search.around(found.hits[0])

    assert "Step 1" in around and "Step 3" in around and "other" not in around


def test_few_readable_passages_or_a_small_share_are_measured_one_by_one():
    assert reads_all(500, 50_000)
    assert reads_all(20_000, 1_000_000)
    assert not reads_all(50_000, 50_000)


@pytest.mark.parametrize(
    ("shares", "kept"),
    [
        ({}, ["a", "b", "c"]),
        ({"a": 0.5, "b": 0.9}, ["c"]),
        ({"a": 0.5, "b": 0.9, "c": 0.4}, ["c"]),
        ({"a": 0.001, "b": 0.9}, ["c", "a"]),
    ],
)
def test_only_words_with_few_passages_fetch_candidates(shares, kept):
    usual = {"least": 0.0001, "shares": shares}
    assert sorted(rare_words(["a", "b", "c"], usual, 100_000)) == sorted(kept)


async def scattered(database, embedder, rows, mine):
    """Fill the tables with clustered vectors; `mine` documents of 100 belong to Ann."""
    rng = np.random.default_rng(7)
    centres = rng.normal(size=(100, 384))
    vectors = centres[rng.integers(0, 100, rows)] + rng.normal(size=(rows, 384)) * 0.7
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    async with database.session() as session:
        await session.execute(text("DROP INDEX ix_knowledge_chunks_embedding"))
        await session.execute(
            text(
                "INSERT INTO knowledge_collections (name, model, dimension) VALUES ('c', :m, 384)"
            ),
            {"m": embedder.name},
        )
        await session.execute(
            text(
                """
                INSERT INTO knowledge_documents (collection_id, source, added_from, kind, title,
                    owner, owner_name, visibility, role, label, content_hash, size_bytes, chunks)
                SELECT 1, 'd' || n, 'd' || n, 'text', 'd' || n,
                    CASE WHEN n < :mine THEN 'id-ann' ELSE 'id-bob' END, 'x', 'private', 'viewer',
                    'outside', n::text, 1, :rows / 100
                FROM generate_series(0, 99) n
                """
            ),
            {"mine": mine, "rows": rows},
        )
        await session.execute(
            text(
                """
                INSERT INTO knowledge_chunks
                    (document_id, position, section, heading, place, text, hash, embedding)
                SELECT d.id, v.n, 0, '', '', 'w' || v.n, v.n::text, CAST(v.e AS halfvec(384))
                FROM unnest(CAST(:ns AS int[]), CAST(:es AS text[])) AS v (n, e)
                JOIN knowledge_documents d ON d.source = 'd' || (v.n % 100)
                """
            ),
            {
                "ns": list(range(rows)),
                "es": ["[" + ",".join(f"{x:.5f}" for x in v) + "]" for v in vectors],
            },
        )
        await session.execute(
            text(
                "CREATE INDEX ix_knowledge_chunks_embedding ON knowledge_chunks"
                " USING hnsw (embedding halfvec_cosine_ops) WITH (m = 16, ef_construction = 128)"
            )
        )
        await session.execute(text("ANALYZE"))
    return vectors


@pytest.mark.parametrize(("mine", "exact"), [(1, True), (8, False), (100, False)])
async def test_recall_holds_under_the_permission_filter(
    database, embedder, search, person, monkeypatch, mine, exact
):
    monkeypatch.setattr("knowledge.search.EXACT_ROWS", 200)
    rows = 4_000
    vectors = await scattered(database, embedder, rows, mine)
    readable = np.arange(rows) % 100 < mine
    recalls = []
    for query in vectors[:: rows // 40][:40]:
        found = await search.find_near("nosuchword", query, person("ann"), limit=10)
        assert found.exact is exact
        order = np.argsort(-(vectors @ query) + np.where(readable, 0, 10))[:10]
        truth = {f"w{n}" for n in order}
        recalls.append(len(truth & {hit.text for hit in found.hits}) / 10)
        assert len(found.hits) == 10
    assert np.mean(recalls) >= 0.98
