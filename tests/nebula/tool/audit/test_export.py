"""The log as a file, and verifying it where there is no database."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nebula.db.engine import Database
from nebula.errors import InvalidInput, NotFound
from nebula.tool.audit.anchoring import Anchoring
from nebula.tool.audit.export import as_csv, as_jsonl, verify_file
from nebula.tool.audit.log import Audit, Wanted
from tests.nebula.tool.audit.conftest import LINE, Write


async def exported(database: Database, path: Path, wanted: Wanted = Wanted()) -> Path:  # noqa: B008
    path.write_bytes(b"".join([part async for part in as_jsonl(database, wanted)]))
    return path


async def test_an_export_is_verified_without_the_database_and_held_against_anchors(
    database: Database, write: Write, keeper: Anchoring, anchors: Path, tmp_path: Path
) -> None:
    await write(3)
    await keeper.anchor()
    await write(1)
    file = await exported(database, tmp_path / "a.jsonl")
    report = verify_file(file, anchors)
    assert (report.problems, report.lines, report.anchors) == ([], 5, 1)


Tamper = Callable[[list[str]], list[str]]


@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        (
            lambda lines: [*lines[:2], lines[2].replace('"ada\\', '"bob\\'), *lines[3:]],
            "line 2 was",
        ),
        (lambda lines: [*lines[:2], *lines[3:]], "line 2 is missing"),
        (lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], "line 2 is"),
        (lambda lines: lines[:-1], "cut short"),
        (lambda lines: lines[:-2], "cut short"),
        (lambda lines: [*lines[:-2], lines[-1]], "cut short"),
        (lambda lines: [*lines[:2], "{}", *lines[3:]], "row 3"),
    ],
)
async def test_a_changed_file_is_found(
    database: Database, write: Write, tmp_path: Path, tamper: Tamper, named: str
) -> None:
    await write(4)
    file = await exported(database, tmp_path / "a.jsonl")
    file.write_text("\n".join(tamper(file.read_text().splitlines())) + "\n")
    report = verify_file(file)
    assert not report.intact
    assert any(named in problem for problem in report.problems), report.problems


async def test_a_selection_is_checked_line_by_line_and_says_that_it_is_one(
    database: Database, audit: Audit, write: Write, tmp_path: Path
) -> None:
    await write(2)
    async with database.session() as session:
        await audit.append(session, {**LINE, "principal": "bob"})
    await write(1)
    file = await exported(database, tmp_path / "a.jsonl", Wanted(principal="ada"))
    report = verify_file(file)
    assert (report.lines, report.problems) == (3, []) and "selection" in report.notes[0]
    file.write_text(file.read_text().replace("gpu_switch", "gpu_status", 1))
    assert verify_file(file).problem == "line 1 was changed"


async def test_an_export_of_many_pages_is_whole(
    database: Database, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nebula.tool.audit.export._PAGE", 2)
    await write(5)
    report = verify_file(await exported(database, tmp_path / "a.jsonl"))
    assert (report.lines, report.problems) == (5, [])


async def test_a_spreadsheet_gets_no_formulas(database: Database, audit: Audit) -> None:
    async with database.session() as session:
        await audit.append(session, {**LINE, "tool": '=HYPERLINK("http://evil.test")'})
        await audit.append(session, {**LINE, "principal": "ada, the 1st"})
    written = b"".join([part async for part in as_csv(database)]).decode()
    first, second = csv.DictReader(io.StringIO(written))
    assert first["tool"].startswith("'=") and second["principal"] == "ada, the 1st"
    assert json.loads(second["payload"])["principal"] == "ada, the 1st"
    assert len(bytes.fromhex(second["hash"])) == 32


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        verify_file(tmp_path / "none")
    for content in ("", "seq,at\n", "{}\n"):
        (tmp_path / "other").write_text(content)
        with pytest.raises(InvalidInput, match="no export"):
            verify_file(tmp_path / "other")
