"""Each kind of file, whole and broken."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from docx import Document as WordDocument
from pypdf import PdfReader, PdfWriter
from reportlab.pdfgen.canvas import Canvas

from knowledge.chunk import TARGET, chunk
from knowledge.document import Section
from knowledge.load.isolated import parser_job, read_safely
from knowledge.load.kinds import kind_of_name, kind_of_page
from knowledge.load.read import Limits, read
from nebula.errors import InvalidInput, TimedOut, TooLarge
from nebula.sandbox.run import run

LIMITS = Limits(max_characters=100_000, max_pages=20, max_unpacked=2_000_000)


def pdf(*pages):
    out = io.BytesIO()
    canvas = Canvas(out)
    for text in pages:
        canvas.drawString(72, 720, text)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def encrypted(body, user_password):
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(body)))
    writer.encrypt(user_password, owner_password="owner", algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def word(*parts):
    document = WordDocument()
    for style, text in parts:
        document.add_heading(text, style) if isinstance(style, int) else document.add_paragraph(
            text
        )
    table = document.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "port", "8188"
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def test_markdown_sections_carry_the_path_of_headings_and_an_anchor():
    text = "---\ntitle: x\n---\nIntro\n# Guide\n\ntext\n\n## Set `it` up!\n\n```\n# no heading\n```\n### Deep\nx"
    document = read(text.encode(), "markdown", "/d/guide.md", LIMITS)

    assert document.title == "Guide"
    assert [(s.heading, s.place) for s in document.sections] == [
        ([], ""),
        (["Guide"], "#guide"),
        (["Guide", "Set it up!"], "#set-it-up"),
        (["Guide", "Set it up!", "Deep"], "#deep"),
    ]
    assert "# no heading" in document.sections[2].text


def test_code_sections_are_definitions_with_their_lines_and_decorators():
    text = "import os\n\n\n@cached\ndef one():\n    return 1\n\n\nclass Two:\n    def method(self): ...\n"
    document = read(text.encode(), "code", "/d/a.py", LIMITS)
    chunks = chunk(document.sections)

    assert [(c.heading, c.place) for c in chunks] == [
        ("", "line 1"),
        ("one", "lines 4-6"),
        ("Two", "lines 9-10"),
    ]
    assert chunks[1].text.startswith("@cached")


def test_yaml_sections_are_its_top_level_keys():
    document = read(b"nodes:\n  - a\nservices:\n  - b\n", "code", "/d/map.yml", LIMITS)
    assert [s.heading for s in document.sections] == [["nodes"], ["services"]]


@pytest.mark.parametrize(
    "body",
    [b"\xef\xbb\xbfgr\xc3\xbc\xc3\x9fe", "grüße".encode("utf-16"), "grüße".encode("cp1252")],
)
def test_text_is_decoded_by_mark_then_utf8_then_windows(body):
    assert read(body, "text", "/d/a.txt", LIMITS).sections[0].text == "grüße"


@pytest.mark.parametrize(
    "body", [b"\x00\x01\x02binary", bytes(range(1, 32)) * 40, b"\xff\xfe\x00\xd8"]
)
def test_binary_bytes_are_refused_as_text(body):
    with pytest.raises(InvalidInput, match="is not text"):
        read(body, "text", "/d/a.txt", LIMITS)


def test_control_characters_never_reach_the_database():
    document = read(b"a\x0bb\x1bc" + b" fine words here" * 9, "text", "/d/a.txt", LIMITS)
    assert document.sections[0].text.startswith("abc fine")


async def test_html_gives_its_main_content_and_title():
    body = (
        b"<html><head><title>Router guide</title><script>evil()</script></head><body>"
        b"<nav>Home About</nav><article><h1>Router</h1><p>"
        + b"The router restarts every Sunday at four o'clock in the morning. " * 5
        + b"</p><h2>Reset</h2><p>"
        + b"Hold the button for ten seconds until the lamp turns red. " * 5
        + b"</p></article></body></html>"
    )
    document = await read_safely(body, "html", "https://x.test/guide", LIMITS, seconds=60)

    text = "\n".join(section.text for section in document.sections)
    assert document.title == "Router guide"
    assert "Sunday" in text and "ten seconds" in text and "evil" not in text


async def test_pdf_pages_are_places():
    document = await read_safely(
        pdf("First words", "Second words"), "pdf", "/d/a.pdf", LIMITS, seconds=60
    )
    assert [(s.place, s.text.strip()) for s in document.sections] == [
        ("page 1", "First words"),
        ("page 2", "Second words"),
    ]


async def test_word_sections_follow_headings_and_tables_become_rows():
    body = word((1, "Setup"), ("", "Plug it in."), (2, "Ports"), ("", "Open them."))
    document = await read_safely(body, "docx", "/d/a.docx", LIMITS, seconds=60)

    assert [s.heading for s in document.sections] == [["Setup"], ["Setup", "Ports"]]
    assert "port | 8188" in document.sections[1].text


def bomb():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b"0" * 50_000_000)
    return out.getvalue()


BROKEN = {
    "an empty file": (b"", "pdf", InvalidInput, "is empty"),
    "a blank file": (b" \n\t ", "markdown", InvalidInput, "is empty"),
    "a PDF that needs a password": (
        encrypted(pdf("x"), "secret"),
        "pdf",
        InvalidInput,
        "encrypted",
    ),
    "a PDF cut in half": (pdf("words " * 9)[:400], "pdf", InvalidInput, "damaged"),
    "garbage named PDF": (b"no pdf at all", "pdf", InvalidInput, "damaged"),
    "a PDF without text": (pdf("", ""), "pdf", InvalidInput, "no text"),
    "a PDF with too many pages": (pdf(*"x" * 21), "pdf", TooLarge, "21 pages"),
    "a docx that is a zip bomb": (bomb(), "docx", TooLarge, "unpacks to 50,000,000"),
    "a docx cut in half": (word(("", "x"))[:9_000], "docx", InvalidInput, "damaged"),
    "a docx with a broken part": (
        word(("", "x")).replace(b"PK\x03\x04", b"PK\x03\x05"),
        "docx",
        InvalidInput,
        "damaged",
    ),
    "an encrypted docx": (b"\xd0\xcf\x11\xe0" + b"x" * 600, "docx", InvalidInput, "encrypted"),
    "a page without content": (b"<html><body></body></html>", "html", InvalidInput, "no readable"),
    "too much text": (b"word " * 30_000, "text", TooLarge, "150,000 characters"),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_broken_file_gives_a_clear_error(what):
    body, kind, error, message = BROKEN[what]
    with pytest.raises(error, match=message) as caught:
        await read_safely(body, kind, f"/d/file.{kind}", LIMITS, seconds=60)
    assert caught.value.hint


async def test_a_pdf_that_is_only_locked_for_editing_is_read():
    document = await read_safely(
        encrypted(pdf("Open words"), ""), "pdf", "/d/a.pdf", LIMITS, seconds=60
    )
    assert "Open words" in document.sections[0].text


@pytest.mark.sandbox
async def test_a_parser_sees_no_file_of_this_machine(tmp_path, monkeypatch):
    """Whatever a hostile file makes of the parser runs in this job."""
    monkeypatch.setenv("NEBULA_CANARY", "canary")
    (tmp_path / "secret").write_text("canary")
    root = Path(__file__).parents[3]
    job = parser_job(b"", LIMITS, 60)
    source = f"""
import os
from pathlib import Path
paths = [{str(tmp_path / "secret")!r}, "/etc/shadow", {str(root / "pyproject.toml")!r}]
print([path for path in paths if Path(path).exists()], "NEBULA_CANARY" in os.environ)
"""
    finished = await run(replace(job, argv=(job.argv[0], "-c", source)))
    assert finished.text == "[] False\n", finished.stderr


@pytest.mark.sandbox
async def test_where_the_sandbox_is_not_whole_files_are_read_without_it():
    """Inside a sandbox no other can be made: a machine that lacks a layer."""
    source = f"""
import asyncio
from knowledge.load.isolated import parser_job, read_safely
from knowledge.load.read import Limits
from nebula.sandbox.layers import whole
body = bytes.fromhex({pdf("First words").hex()!r})
print(asyncio.run(whole()))
read = read_safely(body, "pdf", "/d/a.pdf", Limits(1000, 10, 1000), seconds=60)
print(asyncio.run(read).sections[0].text)
"""
    job = parser_job(b"", LIMITS, 60)
    finished = await run(replace(job, argv=(job.argv[0], "-c", source)))
    assert finished.text.split() == ["False", "First", "words"], finished.stderr


async def test_a_parser_that_takes_too_long_is_stopped():
    with pytest.raises(TimedOut, match="longer than 0 s"):
        await read_safely(pdf("x"), "pdf", "/d/a.pdf", LIMITS, seconds=0.01)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.MD", "markdown"), ("a.htm", "html"), ("Dockerfile", "code"), ("README", "text"),
        ("a.yml", "code"), ("a.png", None), ("noext", None),
    ],
)  # fmt: skip
def test_names_tell_kinds(name, kind):
    assert kind_of_name(name) == kind


def test_pages_tell_their_kind_by_content_type_and_plain_text_by_name():
    assert kind_of_page("text/html; charset=utf-8", "/x.pdf") == "html"
    assert kind_of_page("text/plain", "/raw/guide.md") == "markdown"
    assert kind_of_page("text/plain", "/raw") == "text"
    assert kind_of_page("image/png", "/x.png") is None


def test_passages_fit_the_model_and_lose_no_word():
    words = [f"w{n}" for n in range(3000)]
    text = (
        " ".join(words[:1000])
        + "\n\n"
        + "\n".join(words[1000:2000])
        + "\n\n"
        + " ".join(words[2000:])
    )
    chunks = chunk([Section(text=text, first_line=1)])

    assert all(len(piece.text) <= TARGET for piece in chunks)
    assert " ".join(piece.text for piece in chunks).split() == words
    assert chunks[0].place == "line 1" and chunks[-1].place == "line 1004"
