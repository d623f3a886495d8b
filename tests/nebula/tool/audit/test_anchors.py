"""The file of anchors: written when due, chained, signed, and held against the log."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from nebula.db.engine import Database
from nebula.settings import Settings
from nebula.tool.audit.anchoring import Anchoring, anchoring
from nebula.tool.audit.anchors import Anchors, append, last, read
from nebula.tool.audit.log import Audit, Wanted
from nebula.tool.audit.verify import AuditReport, verify
from tests.nebula.tool.audit.conftest import Write

Verified = Callable[[], Awaitable[AuditReport]]


def filled(path: Path, count: int, key: str = "") -> Anchors:
    for n in range(1, count + 1):
        append(path, n, bytes([n]), f"t{n}", key)
    return read(path, key)


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_anchors_follow_each_other_in_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "somewhere" / "anchors.jsonl"
    found = filled(path, 3)
    assert [(a.number, a.seq) for a in found.known] == [(1, 1), (2, 2), (3, 3)]
    assert found.problems == [] and last(path) == found.known[-1]
    assert path.stat().st_mode & 0o077 == 0


Tamper = Callable[[list[str]], list[str]]


@pytest.mark.parametrize(
    "tamper",
    [
        lambda lines: lines[1:],
        lambda lines: [lines[0], *lines[2:]],
        lambda lines: [lines[1], lines[0], *lines[2:]],
        lambda lines: [lines[0], lines[1].replace('"seq": 2', '"seq": 1'), *lines[2:]],
        lambda lines: [lines[0], lines[0], *lines[1:]],
        lambda lines: [lines[0], "garbage", *lines[2:]],
    ],
    ids=["first gone", "one gone", "swapped", "edited", "repeated", "garbled"],
)
def test_a_changed_file_of_anchors_is_found(tmp_path: Path, tamper: Tamper) -> None:
    path = tmp_path / "anchors.jsonl"
    filled(path, 4)
    path.write_text("\n".join(tamper(lines_of(path))) + "\n")
    assert read(path).problems


def test_a_write_that_a_crash_cut_off_is_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    filled(path, 2)
    with path.open("ab") as file:
        file.write(b'{"at": "t3", "fi')
    found = filled(path, 1)
    assert [a.number for a in found.known] == [1, 2, 3]
    assert found.problems == [] and "cannot be read" in found.notes[0]


def test_without_the_key_nobody_makes_anchors(tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    assert filled(path, 3, "the key").problems == []
    assert read(path).problems == [], "who has no key can still check the chain"
    assert read(path, "another key").problems
    forged = path.with_name("forged")
    filled(forged, 3, "guessed")
    assert read(forged, "the key").problems
    bare = path.with_name("bare")
    filled(bare, 3)
    assert read(bare, "the key").problems, "as if the signatures were taken off"


def test_signing_may_begin_late(tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    filled(path, 2)
    found = filled(path, 1, "the key")
    assert found.problems == []


async def test_only_what_is_new_is_anchored_and_the_log_tells_of_it(
    keeper: Anchoring, write: Write, audit: Audit, verified: Verified
) -> None:
    assert await keeper.anchor() is None
    await write(2)
    made = await keeper.anchor()
    assert made is not None and made.seq == 2
    assert await keeper.anchor() is None
    (line,) = await audit.search(Wanted(tool="audit_anchor"))
    assert (line.seq, line.detail["number"], line.detail["sha256"]) == (3, 1, made.sha256)
    await write(1)
    again = await keeper.anchor()
    assert again is not None and again.seq == 4
    report = await verified()
    assert (report.problems, report.anchors) == ([], 2)


async def test_processes_that_anchor_at_once_make_one_chain(
    keeper: Anchoring, write: Write, verified: Verified
) -> None:
    await write(2)
    made = await asyncio.gather(*[keeper.anchor() for _ in range(5)])
    assert sum(anchor is not None for anchor in made) == 1
    assert (await verified()).problems == []


async def test_anchors_taken_off_the_end_of_their_file_are_missed_by_the_log(
    keeper: Anchoring, write: Write, anchors: Path, verified: Verified
) -> None:
    for _ in range(2):
        await write(2)
        await keeper.anchor()
    anchors.write_text(lines_of(anchors)[0] + "\n")
    (problem,) = (await verified()).problems
    assert problem == "anchor 2, of which line 6 tells, is gone from its file"


async def test_a_file_of_anchors_made_anew_does_not_pass_for_the_old_one(
    keeper: Anchoring, write: Write, anchors: Path, verified: Verified
) -> None:
    await write(2)
    await keeper.anchor()
    anchors.unlink()
    assert "not the file" in (await verified()).problem
    await write(1)
    await keeper.anchor()
    assert "not the file" in (await verified()).problem


async def test_anchors_of_another_machine_are_named_and_can_be_looked_at(
    keeper: Anchoring, write: Write, database: Database, anchors: Path, tmp_path: Path
) -> None:
    await write(2)
    await keeper.anchor()
    elsewhere = await verify(database, tmp_path / "none.jsonl")
    assert elsewhere.intact and str(anchors) in elsewhere.notes[0]
    assert (await verify(database, anchors)).anchors == 1


async def test_the_program_anchors_when_it_starts_by_lines_and_when_it_ends(
    database: Database, audit: Audit, settings: Settings, write: Write, anchors: Path
) -> None:
    often = {"audit_anchor_file": anchors, "audit_anchor_lines": 3, "audit_anchor_minutes": 60}
    often["audit_anchor_key"] = SecretStr("the key")
    keeper = Anchoring(database, audit, settings.model_copy(update=often))
    await write(2)
    assert not await keeper.due(0)
    await write(1)
    assert await keeper.due(0)
    assert await keeper.due(3600)
    async with anchoring(database, audit, settings.model_copy(update=often)):
        async with asyncio.timeout(5):
            while last(anchors) is None:
                await asyncio.sleep(0)
        await write(2)
    assert [a.seq for a in read(anchors, "the key").known] == [3, 6]


async def test_a_file_that_cannot_be_written_stops_nothing(
    database: Database, audit: Audit, settings: Settings, write: Write, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    broken = settings.model_copy(update={"audit_anchor_file": tmp_path / "file" / "anchors"})
    await write(1)
    async with anchoring(database, audit, broken):
        await write(1)
    assert len(await audit.search()) == 2
