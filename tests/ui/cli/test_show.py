"""Results drawn in a terminal: nothing that somebody may want to copy is cut off."""

import io

import pytest

from nebula.tool.result import Table
from ui.cli.show import PlainConsole, show_blocks

JOB = "job_0480e1fabd4d4fc1828c"
WORDS = [JOB, "backups_create", "succeeded", "100%", "administrator", "2026-11-30 12:45"]
LIST = Table(
    columns=["Job", "Tool", "State", "Done", "Owner", "Since", "What"],
    rows=[[*WORDS, "Reading it again from its first byte to the last"]],
)


def drawn(table: Table, width: int) -> str:
    out = io.StringIO()
    show_blocks([table], PlainConsole(file=out, width=width, markup=False))
    return out.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_an_id_is_whole_at_any_width_and_no_word_is_cut_off(width: int) -> None:
    lines = drawn(LIST, width).splitlines()
    assert JOB in "".join(lines) and max(map(len, lines)) <= width
    cells = [line.strip("│").split("│") for line in lines if line.startswith("│")]
    whole = ["".join(part.strip() for part in column) for column in zip(*cells, strict=True)]
    assert whole[1:5] == WORDS[1:5]
    assert "…" not in "".join(lines)


def test_short_cells_stay_whole_where_there_is_room_for_them() -> None:
    assert all(word in drawn(LIST, 130) for word in WORDS)
