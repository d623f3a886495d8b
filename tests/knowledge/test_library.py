"""Adding documents: known, changed and broken ones."""

import asyncio

import pytest
from sqlalchemy import select, text, update

from knowledge.library import Fate
from knowledge.models import ChunkRow, Collection, Document
from nebula.auth.principal import Role
from nebula.errors import Conflict


def paragraphs(count, changed=None):
    return "# Pages\n\n" + "\n\n".join(
        f"## Part {n}\n\n{'Changed' if n == changed else 'Original'} words about topic {n}."
        for n in range(count)
    )


async def rows(database, statement):
    async with database.session() as session:
        return (await session.execute(statement)).all()


async def test_a_new_document_gets_a_row_per_passage_with_its_heading_and_place(
    database, library, person, shelf_of, page
):
    added = await library.add(
        page("/a/pages.md", paragraphs(3)), shelf_of(person("ann")), added_from="/a/pages.md"
    )

    found = await rows(database, select(ChunkRow).order_by(ChunkRow.position))
    assert added.fate is Fate.ADDED and added.chunks == added.embedded == 3
    assert [row[0].heading for row in found] == [f"Pages › Part {n}" for n in range(3)]
    assert [row[0].place for row in found] == ["#part-0", "#part-1", "#part-2"]
    assert len(found[0][0].embedding) == 384


async def test_adding_the_same_document_again_says_it_is_known_and_embeds_nothing(
    database, library, person, shelf_of, page
):
    document, shelf = page("/a/pages.md", paragraphs(3)), shelf_of(person("ann"))
    first = await library.add(document, shelf, added_from="/a/pages.md")
    again = await library.add(document, shelf, added_from="/a/pages.md")

    assert again.fate is Fate.UNCHANGED and again.embedded == 0
    assert again.document == first.document
    assert len(await rows(database, select(ChunkRow.id))) == 3


async def test_a_changed_document_writes_only_its_changed_passages(
    database, library, person, shelf_of, page
):
    shelf = shelf_of(person("ann"))
    await library.add(page("/a/p.md", paragraphs(6)), shelf, added_from="/a/p.md")
    before = {r.hash: r.id for r in await rows(database, select(ChunkRow.id, ChunkRow.hash))}

    added = await library.add(
        page("/a/p.md", paragraphs(6, changed=2)), shelf, added_from="/a/p.md"
    )

    after = {r.hash: r.id for r in await rows(database, select(ChunkRow.id, ChunkRow.hash))}
    assert added.fate is Fate.UPDATED and added.embedded == 1
    assert len(before.items() & after.items()) == 5 and len(after) == 6


async def test_passages_keep_their_order_when_one_is_put_in_front(
    database, library, person, shelf_of, page
):
    shelf = shelf_of(person("ann"))
    await library.add(page("/a/p.md", "# A\n\nalpha\n\n# B\n\nbeta"), shelf, added_from="/a/p.md")
    await library.add(
        page("/a/p.md", "# New\n\nfirst\n\n# A\n\nalpha\n\n# B\n\nbeta"),
        shelf,
        added_from="/a/p.md",
    )

    texts = await rows(database, select(ChunkRow.text).order_by(ChunkRow.position))
    assert [row.text for row in texts] == ["first", "alpha", "beta"]


async def test_the_same_content_under_another_name_is_not_added_twice(
    database, library, person, shelf_of, page
):
    shelf = shelf_of(person("ann"))
    await library.add(page("/a/one.md", "# T\n\nSame."), shelf, added_from="/a/one.md")
    again = await library.add(page("/a/two.md", "# T\n\nSame."), shelf, added_from="/a/two.md")

    assert again.fate is Fate.DUPLICATE and again.same_as == "/a/one.md"
    assert len(await rows(database, select(Document.id))) == 1


async def test_two_people_may_each_hold_the_same_content(database, library, person, shelf_of, page):
    for name in ("ann", "bob"):
        added = await library.add(
            page("/a/one.md", "# T\n\nSame."), shelf_of(person(name)), added_from="/a/one.md"
        )
        assert added.fate is Fate.ADDED
    assert len(await rows(database, select(Document.id))) == 2


async def test_a_text_that_repeats_itself_is_kept_once(database, library, person, shelf_of, page):
    shelf = shelf_of(person("ann"))
    repeated = "# A\n\nNote.\n\n# A\n\nNote.\n\n# B\n\nOther."
    await library.add(page("/a/p.md", repeated), shelf, added_from="/a/p.md")
    await library.add(page("/a/p.md", repeated + "\n\nMore."), shelf, added_from="/a/p.md")

    assert len(await rows(database, select(ChunkRow.id))) == 2


class Breaks(Exception):
    pass


async def test_a_failure_while_embedding_leaves_nothing(
    database, library, embedder, person, shelf_of, page
):
    async def fail_half_way(fraction):
        if fraction >= 0.5:
            raise Breaks

    with pytest.raises(Breaks):
        await library.add(
            page("/a/p.md", paragraphs(70)),
            shelf_of(person("ann")),
            added_from="/a/p.md",
            progress=fail_half_way,
        )
    assert not await rows(database, select(Document.id))
    assert not await rows(database, select(ChunkRow.id))


async def test_a_database_error_in_the_middle_of_the_passages_leaves_nothing(
    database, library, person, shelf_of, page
):
    async with database.session() as session:
        await session.execute(
            text("ALTER TABLE knowledge_chunks ADD CONSTRAINT fails CHECK (position < 2)")
        )
    with pytest.raises(Exception, match="fails"):
        await library.add(
            page("/a/p.md", paragraphs(4)), shelf_of(person("ann")), added_from="/a/p.md"
        )
    assert not await rows(database, select(Document.id))


async def test_an_add_that_is_cancelled_leaves_nothing(database, library, person, shelf_of, page):
    started = asyncio.Event()

    async def tell(fraction):
        started.set()
        await asyncio.Event().wait()

    adding = asyncio.create_task(
        library.add(
            page("/a/p.md", paragraphs(100)),
            shelf_of(person("ann")),
            added_from="/a/p.md",
            progress=tell,
        )
    )
    await started.wait()
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    assert not await rows(database, select(Document.id))


async def test_two_adds_of_one_source_at_once_leave_one_whole_document(
    database, library, person, shelf_of, page
):
    shelf = shelf_of(person("ann"))
    versions = [page("/a/p.md", paragraphs(5, changed=n)) for n in range(3)]
    await asyncio.gather(*(library.add(v, shelf, added_from="/a/p.md") for v in versions))

    documents = await rows(database, select(Document))
    chunks = await rows(database, select(ChunkRow.text))
    assert len(documents) == 1 and len(chunks) == 5
    assert sum("Changed" in row.text for row in chunks) == 1


async def test_a_collection_of_another_embedding_model_refuses_documents(
    database, library, person, shelf_of, page
):
    shelf = shelf_of(person("ann"))
    await library.add(page("/a/p.md", "# A\n\nalpha"), shelf, added_from="/a/p.md")
    async with database.session() as session:
        await session.execute(update(Collection).values(model="other"))

    with pytest.raises(Conflict, match="embedded with other"):
        await library.add(page("/a/q.md", "# B\n\nbeta"), shelf, added_from="/a/q.md")


async def test_files_that_left_a_folder_leave_the_library_but_not_other_peoples(
    database, library, person, shelf_of, page
):
    ann, bob = shelf_of(person("ann")), shelf_of(person("bob", Role.ADMIN))
    for shelf in (ann, bob):
        for name in ("one", "two"):
            await library.add(page(f"/f/{name}.md", f"# {name}\n\n{name}"), shelf, added_from="/f")

    gone = await library.drop_missing(ann, "/f", ["/f/one.md"])

    left = await rows(database, select(Document.owner_name, Document.source))
    assert gone == 1
    assert sorted(map(tuple, left)) == [
        ("ann", "/f/one.md"),
        ("bob", "/f/one.md"),
        ("bob", "/f/two.md"),
    ]
