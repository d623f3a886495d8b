"""Shows results in a terminal: tables, Markdown, choices; no value is taken for markup."""

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markdown import Markdown as RichMarkdown
from rich.table import Table as RichTable
from rich.text import Text

from nebula.tool.render import to_markdown, visible
from nebula.tool.result import Block, Choices, Image, JobProgress, Markdown, Plot, Table


def console(*, error: bool = False) -> Console:
    """Return a console on stdout or stderr, without guessing at markup or emoji in values."""
    stream = sys.stderr if error else sys.stdout
    return Console(file=stream, markup=False, emoji=False, highlight=False, soft_wrap=True)


def show_blocks(blocks: Sequence[Block], to: Console) -> None:
    """Draw a result."""
    for block in blocks:
        for part in _drawn(block):
            to.print(part, soft_wrap=False)


def _drawn(block: Block) -> list[Any]:
    match block:
        case Markdown(text=text):
            return [RichMarkdown(visible(text), hyperlinks=False)]
        case Table():
            return [_table(block)]
        case Image(url=url, alt=alt):
            return [Text(f"[{visible(alt)}] {visible(url)}")]
        case Plot(title=title):
            return [Text(f"[plot: {visible(title) or 'figure'}; open the web chat to see it]")]
        case Choices(question=question, options=options):
            lines = [f"  {n}. {visible(label)}" for n, (label, _) in enumerate(options, start=1)]
            return [Text("\n".join([visible(question), *lines]))]
        case JobProgress():
            return [RichMarkdown(to_markdown([block]), hyperlinks=False)]


def _table(block: Table) -> RichTable:
    drawn = RichTable(
        title=Text(visible(block.title)) if block.title else None, title_justify="left"
    )
    for index, column in enumerate(block.columns):
        # Ids and names stay whole, to be copied; sentences wrap.
        cells = [row[index] for row in block.rows]
        whole = all(len(cell) <= (16 if " " in cell else 32) for cell in cells)
        drawn.add_column(Text(visible(column)), overflow="fold", no_wrap=whole)
    for row in block.rows:
        drawn.add_row(*(Text(visible(cell)) for cell in row))
    return drawn
