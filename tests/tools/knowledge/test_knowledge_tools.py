"""The knowledge tools through the executor: as people, in rights, and with broken input."""

from dataclasses import replace
from uuid import uuid4

import pytest
from sqlalchemy import select

from knowledge.manual import ensure_manual
from knowledge.models import Document
from nebula.auth.principal import Caller, Role, Surface
from nebula.errors import ApprovalRequired, Conflict, InvalidInput, NotFound, PermissionDenied
from nebula.policy.labels import Label
from nebula.tool.executor import Executor
from nebula.tool.render import to_markdown


@pytest.fixture
def run(app):
    async def run(who, tool, /, call_id=None, progress=None, **arguments):
        caller = Caller(who, Surface.CHAT, progress=progress)
        call_id = call_id or uuid4().hex
        return await app.executor.execute(tool, arguments, caller=caller, call_id=call_id)

    return run


@pytest.fixture
def approved(app, run):
    """Run a tool that waits for a person, let the person approve it, and run it again."""

    async def run_approved(who, tool, **arguments):
        call_id = uuid4().hex
        with pytest.raises(ApprovalRequired) as waiting:
            await run(who, tool, call_id=call_id, **arguments)
        await app.parts.approvals.decide(
            waiting.value.approval_id, decision="approve", by=who, surface=Surface.CHAT
        )
        return await run(who, tool, call_id=call_id, **arguments)

    return run_approved


@pytest.fixture
def inbox(settings):
    folder = settings.home / "inbox"
    folder.mkdir()
    return folder


async def sources(app):
    async with app.parts.db.session() as session:
        return sorted(await session.scalars(select(Document.source)))


async def test_knowledge_add_takes_a_file_in_and_knowledge_search_cites_it(run, developer, inbox):
    (inbox / "coffee.md").write_text("# Coffee\n\n## Descale\n\nUse citric acid every month.\n")
    report = await run(developer, "knowledge_add", source="coffee.md")
    answer = await run(developer, "knowledge_search", query="how to descale the coffee machine")

    assert "**coffee.md** is in knowledge now" in to_markdown(report.render())
    shown = to_markdown(answer.render())
    assert "citric acid" in shown and "coffee.md › Descale" in shown
    assert answer.origin() is Label.OUTSIDE


async def test_knowledge_add_says_when_a_file_is_already_known(run, developer, inbox):
    (inbox / "a.md").write_text("# A\n\nWords.\n")
    (inbox / "b.md").write_text("# A\n\nWords.\n")
    await run(developer, "knowledge_add", source="a.md")
    again = await run(developer, "knowledge_add", source="a.md")
    twin = await run(developer, "knowledge_add", source="b.md")

    assert "already known; nothing changed" in to_markdown(again.render())
    assert "**a.md** has the same content" in to_markdown(twin.render())


async def test_knowledge_add_of_a_folder_reports_each_file_and_follows_renames(
    app, run, developer, inbox
):
    wiki = inbox / "wiki"
    wiki.mkdir()
    (wiki / "a.md").write_text("# A\n\nAlpha.\n")
    (wiki / "b.md").write_text("# B\n\nBeta.\n")
    (wiki / "broken.pdf").write_bytes(b"%PDF-1.7")
    told = []

    async def progress(fraction, message):
        told.append(fraction)

    first = await run(developer, "knowledge_add", source="wiki", progress=progress)
    (wiki / "a.md").rename(wiki / "c.md")
    second = await run(developer, "knowledge_add", source="wiki")

    assert [(f.status, f.code) for f in first.files] == [
        ("added", ""),
        ("added", ""),
        ("failed", "invalid_input"),
    ]
    assert "damaged" in to_markdown(first.render())
    assert told == sorted(told) and told[0] == 0.0 and told[-1] <= 1.0
    assert second.removed == 1
    assert [s.rpartition("/")[2] for s in await sources(app)] == ["b.md", "c.md"]


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("empty.md", b"", "is empty"),
        ("blob.xyz", b"\x00\x01", "not text"),
        ("x.pdf", b"%PDF", "damaged"),
    ],
)
async def test_knowledge_add_of_a_broken_file_is_an_error_and_adds_nothing(
    app, run, developer, inbox, name, body, message
):
    (inbox / name).write_bytes(body)
    with pytest.raises(InvalidInput, match=message):
        await run(developer, "knowledge_add", source=name)
    assert await sources(app) == []


async def test_knowledge_add_needs_the_right_to_write(run, viewer, inbox):
    (inbox / "a.md").write_text("# A\n\nWords.\n")
    with pytest.raises(PermissionDenied):
        await run(viewer, "knowledge_add", source="a.md")


async def test_knowledge_add_keeps_out_of_the_manual(run, developer, inbox):
    (inbox / "a.md").write_text("# A\n\nWords.\n")
    with pytest.raises(InvalidInput, match="manual"):
        await run(developer, "knowledge_add", source="a.md", collection="manual")


async def test_knowledge_add_again_changes_who_finds_it_only_when_asked(
    app, run, developer, viewer, inbox
):
    (inbox / "a.md").write_text("# Plan\n\nThe cellar plan.\n")

    async def viewer_finds():
        return bool((await run(viewer, "knowledge_search", query="cellar plan")).passages)

    await run(developer, "knowledge_add", source="a.md")
    assert not await viewer_finds()
    await run(developer, "knowledge_add", source="a.md", visibility="everyone")
    assert await viewer_finds()
    await run(developer, "knowledge_add", source="a.md")
    assert await viewer_finds()
    await run(developer, "knowledge_add", source="a.md", visibility="private")
    assert not await viewer_finds()


async def test_outside_text_is_quoted_inert(run, developer, inbox):
    evil = "# Evil\n\n![x](http://evil.test/?leak) <script>alert(1)</script> [click](javascript:x) evil\n"
    (inbox / "evil.md").write_text(evil)
    await run(developer, "knowledge_add", source="evil.md")
    answer = await run(developer, "knowledge_search", query="evil click")

    shown = to_markdown(answer.render())
    assert r"\!\[x" in shown and r"\<script" in shown and r"\[click" in shown


async def test_knowledge_search_with_nothing_to_find_says_so(run, developer):
    answer = await run(developer, "knowledge_search", query="the price of tea")
    assert "found nothing" in to_markdown(answer.render())
    assert answer.origin() is Label.SYSTEM


async def test_knowledge_search_has_the_manual_even_as_the_first_thing_that_runs(app, viewer):
    parts = replace(app.parts, settings=app.parts.settings.model_copy(update={"warm_start": True}))
    answer = await Executor(parts).execute(
        "knowledge_search",
        {"query": "connect ComfyUI"},
        caller=Caller(viewer, Surface.CHAT),
        call_id=uuid4().hex,
    )
    assert answer.passages[0].citation == "connect-comfyui.md › How do I connect ComfyUI?"
    assert answer.origin() is Label.SYSTEM
    assert "8188" in to_markdown(answer.render())


@pytest.mark.parametrize(
    "arguments",
    [{}, {"query": ""}, {"query": "x" * 2000}, {"query": "x", "limit": 0}, {"query": "x", "y": 1}],
)
async def test_knowledge_search_refuses_bad_arguments(run, developer, arguments):
    with pytest.raises(InvalidInput):
        await run(developer, "knowledge_search", **arguments)


async def test_knowledge_list_shows_own_documents_and_the_manual_only_when_asked(
    app, run, developer, viewer, inbox
):
    await ensure_manual(app.parts)
    (inbox / "a.md").write_text("# Alpha\n\nWords.\n")
    await run(developer, "knowledge_add", source="a.md", collection="wiki")

    mine = await run(developer, "knowledge_list")
    theirs = await run(viewer, "knowledge_list")
    manual = await run(viewer, "knowledge_list", collection="manual")

    assert [one.title for one in mine.documents] == ["Alpha"] and mine.total == 1
    assert theirs.total == 0 and "no documents of yours" in to_markdown(theirs.render())
    assert manual.total >= 2
    assert (await run(developer, "knowledge_list", containing="alp")).total == 1
    assert (await run(developer, "knowledge_list", containing="%")).total == 0


async def test_knowledge_forget_waits_for_a_person_and_then_removes_a_document(
    app, run, approved, admin, inbox
):
    (inbox / "a.md").write_text("# Alpha\n\nWords.\n")
    await run(admin, "knowledge_add", source="a.md")
    gone = await approved(admin, "knowledge_forget", document="a.md")

    assert len(gone.sources) == 1 and await sources(app) == []


async def test_knowledge_forget_shows_what_would_go_and_holds_for_its_present_content(
    app, run, admin, inbox
):
    (inbox / "a.md").write_text("# Alpha\n\nWords.\n")
    await run(admin, "knowledge_add", source="a.md")
    call = {"caller": Caller(admin, Surface.CHAT), "call_id": "forget-1"}
    with pytest.raises(ApprovalRequired) as waiting:
        await app.executor.execute("knowledge_forget", {"document": "a.md"}, **call)
    approvals, approval_id = app.parts.approvals, waiting.value.approval_id
    asked = await approvals.get(approval_id, admin)
    assert "1 document with 1 passage" in to_markdown(asked.evidence.preview)
    await approvals.decide(approval_id, decision="approve", by=admin, surface=Surface.CHAT)
    (inbox / "a.md").write_text("# Alpha\n\nNobody has seen these words.\n")
    await run(admin, "knowledge_add", source="a.md")
    with pytest.raises(PermissionDenied, match="what it would change"):
        await app.executor.execute("knowledge_forget", {"document": "a.md"}, **call)
    assert len(await sources(app)) == 1


async def test_knowledge_forget_removes_everything_of_a_folder(app, run, approved, admin, inbox):
    (inbox / "wiki").mkdir()
    for name in "ab":
        (inbox / "wiki" / f"{name}.md").write_text(f"# {name}\n\nWords {name}.\n")
    await run(admin, "knowledge_add", source="wiki")
    gone = await approved(admin, "knowledge_forget", document=str(inbox / "wiki"))

    assert len(gone.sources) == 2 and await sources(app) == []


async def test_knowledge_forget_names_the_choices_when_several_fit(run, approved, admin, inbox):
    for name in "ab":
        (inbox / f"note-{name}.md").write_text(f"# {name}\n\nWords {name}.\n")
        await run(admin, "knowledge_add", source=f"note-{name}.md")
    with pytest.raises(Conflict, match=r"note-a\.md.*note-b\.md"):
        await approved(admin, "knowledge_forget", document="note")


async def test_knowledge_forget_of_something_unknown_or_not_ones_own_fails(
    app, run, approved, admin, developer, people, inbox
):
    await ensure_manual(app.parts)
    (inbox / "a.md").write_text("# Alpha\n\nWords.\n")
    await run(developer, "knowledge_add", source="a.md", visibility="everyone")
    other = await people(Role.DEVELOPER, "other")

    with pytest.raises(NotFound):
        await approved(other, "knowledge_forget", document="nothing")
    with pytest.raises(PermissionDenied, match="belongs to developer"):
        await approved(other, "knowledge_forget", document="a.md")
    with pytest.raises(PermissionDenied, match="manual stays"):
        await approved(admin, "knowledge_forget", document="knowledge.md")
    with pytest.raises(PermissionDenied):
        await run(await people(Role.VIEWER, "v"), "knowledge_forget", document="a.md")


async def test_a_private_document_cannot_be_told_from_a_missing_one(
    run, approved, admin, developer, inbox
):
    (inbox / "a.md").write_text("# Alpha\n\nWords.\n")
    await run(developer, "knowledge_add", source="a.md")
    with pytest.raises(NotFound):
        await approved(admin, "knowledge_forget", document="a.md")


async def test_knowledge_embed_gives_the_vector_that_search_uses(run, viewer):
    one = await run(viewer, "knowledge_embed", text="hello world")
    assert len(one.vector) == one.dimension == 384
    assert sum(value * value for value in one.vector) == pytest.approx(1.0, abs=1e-3)
    assert "384 numbers" in to_markdown(one.render())
