"""Shows results in a terminal: tables, Markdown, choices; no value is taken for markup."""

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markdown import Markdown as RichMarkdown
from rich.table import Table as RichTable
from rich.text import Text

from nebula.markup.neutral import neutral
from nebula.markup.text import visible
from nebula.tool.diagram import Diagram, outline
from nebula.tool.render import to_markdown
from nebula.tool.result import Block, Choices, Image, JobProgress, Live, Markdown, Plot, Table


class PlainConsole(Console):
    """A console that draws words as words: nothing in them moves the cursor, links or rings."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Draw; words lose whatever a terminal would obey."""
        super().print(*map(_obeyed_by_nobody, objects), **options)


def _obeyed_by_nobody(part: Any) -> Any:
    if isinstance(part, str):
        return visible(part)
    if isinstance(part, Text) and (shown := visible(part.plain)) != part.plain:
        return Text(shown, part.style)
    return part


def console(*, error: bool = False) -> Console:
    """Return a console on stdout or stderr, without guessing at markup or emoji in values."""
    stream = sys.stderr if error else sys.stdout
    return PlainConsole(file=stream, markup=False, emoji=False, highlight=False, soft_wrap=True)


def written(text: str) -> RichMarkdown:
    """Return Markdown to draw, whoever wrote it."""
    return RichMarkdown(neutral(text), hyperlinks=False)


def show_blocks(blocks: Sequence[Block], to: Console) -> None:
    """Draw a result."""
    for block in blocks:
        for part in _drawn(block, to.width):
            to.print(part, soft_wrap=False)


def _drawn(block: Block, width: int) -> list[Any]:
    match block:
        case Markdown(text=text):
            return [written(text)]
        case Table():
            return [_table(block, width)]
        case Image(url=url, alt=alt):
            return [Text(f"[{visible(alt)}] {visible(url)}")]
        case Plot(title=title):
            return [Text(f"[plot: {visible(title) or 'figure'}; open the web chat to see it]")]
        case Choices(question=question, options=options):
            lines = [f"  {n}. {visible(label)}" for n, (label, _) in enumerate(options, start=1)]
            return [Text("\n".join([visible(question), *lines]))]
        case JobProgress():
            return [written(to_markdown([block]))]
        case Live(blocks=blocks):
            return [part for each in blocks for part in _drawn(each, width)]
        case Diagram():
            return [_tree(block)]


def _tree(diagram: Diagram) -> Text:
    """Draw steps as an indented list."""
    lines = [visible(diagram.title)] if diagram.title else []
    for depth, title, detail in outline(diagram):
        said = f"  ({visible(detail)})" if detail else ""
        lines.append(f"  {'  ' * depth}{visible(title)}{said}")
    return Text("\n".join(lines))


_EDGES = 3
"""Characters that a column takes beside its words."""
_NARROWEST = 8
"""What a column that wraps wants at least."""


def _table(block: Table, width: int) -> RichTable:
    drawn = RichTable(
        title=Text(visible(block.title)) if block.title else None, title_justify="left"
    )
    for column, whole in zip(block.columns, _whole(block, width), strict=True):
        drawn.add_column(Text(visible(column)), overflow="fold", no_wrap=whole)
    for row in block.rows:
        drawn.add_row(*(Text(visible(cell)) for cell in row))
    return drawn


def _whole(block: Table, width: int) -> list[bool]:
    """Say which columns stay whole: ids and names, to be copied; sentences wrap.

    Where there is no room for all, it is the first alone: what does not wrap would be cut off.
    """
    columns = [[row[index] for row in block.rows] for index in range(len(block.columns))]
    short = [all(len(c) <= (16 if " " in c else 32) for c in cells) for cells in columns]
    wanted = [
        max(map(len, (name, *cells))) if one else _NARROWEST
        for name, cells, one in zip(block.columns, columns, short, strict=True)
    ]
    fits = sum(wanted) + _EDGES * len(wanted) + 1 <= width
    return [one and (fits or index == 0) for index, one in enumerate(short)]
