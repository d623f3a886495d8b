"""Results as Discord shows them: text without mentions, tables as code, the rest as files."""

import base64
import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nebula.markup.address import may_show
from nebula.markup.figure import local_figure
from nebula.markup.mentions import unmentioned
from nebula.markup.text import escape, visible
from nebula.tool.diagram import Diagram, outline
from nebula.tool.result import Block, Choices, Image, JobProgress, Live, Markdown, Plot, Table
from ui.discord.split import inert

_WIDE = 76
"""Columns of text that a code block shows without wrapping on a desktop."""
_LONG = 1700
"""Characters of a table that still fit one message beside a title."""
_FEW = 8
_CELL = 24
_MOST_FILES = 10
_RULE = re.compile(r"^\s*\|?[ :]*-+[ :|-]*$")
_FENCED = re.compile(r"^ {0,3}(```|~~~)")
_FORMULA = re.compile(r"^(?:[=@\t\r]|[+-](?![0-9.,]+$))")
_ADDRESS = re.compile(r"(?<![<\w`])https?://[^\s<>`]+[^\s<>`.,;:!?)\]*_'\"]")
_CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]+`)", re.DOTALL)
_DATA = re.compile(r"data:image/(png|jpeg|gif|webp);base64,([A-Za-z0-9+/=]+)")


@dataclass(frozen=True)
class Upload:
    """A file that goes with a message."""

    name: str
    content: bytes


@dataclass
class Shown:
    """What blocks look like on Discord."""

    text: str = ""
    files: list[Upload] = field(default_factory=list)


def safe(text: str) -> str:
    """Return text that pings nobody and makes Discord fetch nothing; tables become code."""
    return unmentioned(_unfurled(_tables_as_code(text)))


def show(blocks: Sequence[Block], link: str) -> Shown:
    """Return blocks as text and files; `link` is where the web chat is."""
    shown = Shown()
    texts = [_text(block, shown.files, link) for block in blocks]
    shown.text = "\n\n".join(text for text in texts if text)
    shown.files = shown.files[:_MOST_FILES]
    return shown


def _text(block: Block, files: list[Upload], link: str) -> str:
    match block:
        case Markdown(text=text):
            return safe(text)
        case Table():
            return _table(block, files)
        case Image():
            return _image(block, files, link)
        case Plot():
            return _plot(block, files)
        case Choices(question=question, options=options):
            lines = [
                f"{n}. {_plain(label)} – say {code(says)}"
                for n, (label, says) in enumerate(options, 1)
            ]
            return "\n".join([_plain(question), *lines])
        case JobProgress():
            return job_line(block)
        case Live(blocks=blocks):
            return "\n\n".join(filter(None, (_text(each, files, link) for each in blocks)))
        case Diagram():
            return _outline(block)


def _outline(diagram: Diagram) -> str:
    """Draw steps as an indented list in a code block, where nothing wraps or pings."""
    lines = [
        f"{'  ' * depth}{visible(title)}{f'  ({visible(detail)})' if detail else ''}"
        for depth, title, detail in outline(diagram)
    ]
    title = f"**{_plain(diagram.title)}**\n" if diagram.title else ""
    return title + code_block("\n".join(line[:_WIDE] for line in lines)[:_LONG])


def job_line(job: JobProgress) -> str:
    """Say in one line how a job is."""
    part = "" if job.fraction is None else f" {job.fraction:.0%}"
    said = f": {_plain(job.message)}" if job.message else ""
    return f"**{_plain(job.tool)}** is {_plain(job.state)}{part} as job {code(job.job_id)}{said}"


def code(text: str) -> str:
    """Return a value as inline code that it cannot end."""
    return f"`{unmentioned(visible(text)).replace('`', 'ˋ')}`"  # noqa: RUF001 - it looks the same


def code_block(text: str, language: str = "") -> str:
    """Return text as a code block that it cannot end."""
    inside = inert(unmentioned(text))
    return f"```{language}\n{inside}\n```"


def _plain(text: str) -> str:
    return unmentioned(escape(text))


def _table(table: Table, files: list[Upload]) -> str:
    """Show a table as code; a wide or long one whole as a file, and its beginning here."""
    title = f"**{_plain(table.title)}**\n" if table.title else ""
    if not table.rows:
        return f"{title}*none*"
    columns = [visible(name) for name in table.columns]
    rows = [[" ".join(visible(cell).split()) for cell in row] for row in table.rows]
    whole = _aligned(columns, rows)
    if len(whole) <= _LONG and max(map(len, whole.splitlines())) <= _WIDE:
        return f"{title}{code_block(whole)}"
    name = f"{_file_name(table.title or 'table')}-{len(files) + 1}.csv"
    files.append(Upload(name, _csv(table.columns, table.rows)))
    short = _aligned(*_narrowed(columns, rows))
    more = f"{len(rows)} rows, {len(columns)} columns: all of it in {code(name)}"
    return f"{title}{code_block(short)}\n{more}"


def _aligned(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(cell) for cell in each) for each in zip(columns, *rows, strict=True)]
    numeric = [all(_is_number(row[at]) for row in rows) for at in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, numeric, strict=True)
        )
        return "  ".join(padded).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([line(columns), rule, *(line(row) for row in rows)])


def _narrowed(columns: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Return the first columns and rows, with long cells cut, so that they fit the width."""
    few = [[_cut(cell) for cell in row] for row in rows[:_FEW]]
    heads = [_cut(name) for name in columns]
    kept, room = 0, _WIDE
    for each in zip(heads, *few, strict=True):
        room -= max(map(len, each)) + (2 if kept else 0)
        if room < 0 and kept:
            break
        kept += 1
    return heads[:kept], [row[:kept] for row in few]


def _cut(cell: str) -> str:
    return cell if len(cell) <= _CELL else f"{cell[: _CELL - 1]}…"


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[-+]?[\d.,]+ ?(?:%|[A-Za-z]{1,3})?|–", cell) is not None


def _csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """Write a table as a file; no cell is a formula to whoever opens it."""
    written = io.StringIO()
    writer = csv.writer(written)
    for row in [columns, *rows]:
        writer.writerow([f"'{cell}" if _FORMULA.match(cell) else cell for cell in row])
    return written.getvalue().encode("utf-8-sig")


def _image(image: Image, files: list[Upload], link: str) -> str:
    inline = _DATA.fullmatch(image.url)
    if inline is not None and may_show(image.url):
        name = f"{_file_name(image.alt or 'image')}-{len(files) + 1}.{inline[1]}"
        files.append(Upload(name, base64.b64decode(inline[2])))
        return ""
    if may_show(image.url):
        return f"{_plain(image.alt)}: <{link}{image.url}>"
    return f"(image not loaded: {_plain(image.alt)} {code(image.url)})"


def _plot(plot: Plot, files: list[Upload]) -> str:
    """Show the numbers of a plot: nothing here can draw it."""
    figure = local_figure(plot.figure)
    tables = [_trace(plot, trace) for trace in figure["data"]]
    shown = [_table(table, files) for table in tables if table is not None]
    return "\n".join(shown) or f"*(plot: {_plain(plot.title) or 'figure'})*"


def _trace(plot: Plot, trace: Mapping[str, Any]) -> Table | None:
    across = _values(trace, "x", "labels")
    up = _values(trace, "y", "values")
    count = max(len(across), len(up))
    if not count:
        return None
    pairs = zip(_filled(across, count), _filled(up, count), strict=True)
    name = str(trace.get("name") or plot.title or "plot")
    title = name if name == plot.title or not plot.title else f"{plot.title}: {name}"
    return Table(title=title, columns=["x", "y"], rows=[[x, y] for x, y in pairs])


def _values(trace: Mapping[str, Any], *names: str) -> list[str]:
    for name in names:
        found = trace.get(name)
        if isinstance(found, list | tuple) and found:
            return [f"{value:.6g}" if isinstance(value, float) else str(value) for value in found]
    return []


def _filled(values: list[str], count: int) -> list[str]:
    return values + [str(at + 1) if not values else "" for at in range(len(values), count)]


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()[:40] or "table"


def _unfurled(text: str) -> str:
    """Write addresses outside code as `<…>`: Discord then fetches no preview of them."""
    pieces = _CODE.split(text)
    pieces[::2] = [_ADDRESS.sub(r"<\g<0>>", piece) for piece in pieces[::2]]
    return "".join(pieces)


def _tables_as_code(text: str) -> str:
    """Put tables of Markdown, outside code, into code blocks."""
    made: list[str] = []
    lines = text.split("\n")
    at, fenced = 0, False
    while at < len(lines):
        if _FENCED.match(lines[at]):
            fenced = not fenced
        ruled = at + 1 < len(lines) and "|" in lines[at] and _RULE.match(lines[at + 1])
        if fenced or not ruled:
            made.append(lines[at])
            at += 1
            continue
        end = at + 2
        while end < len(lines) and "|" in lines[end] and lines[end].strip():
            end += 1
        rows = [_cells(line) for line in (lines[at], *lines[at + 2 : end])]
        made.append(_code_table(rows))
        at = end
    return "\n".join(made)


def _code_table(rows: list[list[str]]) -> str:
    width = max(map(len, rows))
    even = [row + [""] * (width - len(row)) for row in rows]
    return f"```\n{_aligned(even[0], even[1:])}\n```"


def _cells(line: str) -> list[str]:
    inner = re.sub(r"^\s*\||\|\s*$", "", line)
    cells = re.split(r"(?<!\\)\|", inner)
    return [re.sub(r"\\(.)|[*`]{1,2}", r"\1", cell).strip().replace("```", "") for cell in cells]
