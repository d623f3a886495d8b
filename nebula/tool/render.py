"""Show a result without a model: generic blocks from any model, and Markdown from blocks."""

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Any

from pydantic import BaseModel

from nebula.markup.address import may_show
from nebula.markup.text import escape, visible
from nebula.tool.diagram import Diagram, outline
from nebula.tool.result import Block, Choices, Image, JobProgress, Live, Markdown, Plot, Table

__all__ = ["as_text", "escape", "generic_blocks", "table_of", "to_markdown", "visible"]


def generic_blocks(result: BaseModel) -> list[Block]:
    """Show any model: scalar fields as a list, lists of models as tables."""
    blocks: list[Block] = []
    lines: list[str] = []
    for name in type(result).model_fields:
        value = getattr(result, name)
        if isinstance(value, list) and value and isinstance(value[0], BaseModel):
            blocks.append(table_of(value, title=_title(name)))
        elif value is not None and value != []:
            lines.append(f"- **{_title(name)}**: {escape(as_text(value))}")
    if lines:
        blocks.insert(0, Markdown(text="\n".join(lines)))
    return blocks or [Markdown(text="Nothing to show.")]


def table_of(rows: Sequence[BaseModel], *, title: str = "") -> Table:
    """Show models of one kind as a table, a column per field."""
    names = list(type(rows[0]).model_fields)
    return Table(
        title=title,
        columns=[_title(name) for name in names],
        rows=[[as_text(getattr(row, name)) for name in names] for row in rows],
    )


def as_text(value: Any) -> str:
    """Write one value as a person would: yes/no, a dash for nothing, minutes for times."""
    match value:
        case None | "":
            return "–"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M")
        case Enum():
            return str(value.value)
        case float():
            return f"{value:.4g}"
        case BaseModel():
            return ", ".join(
                f"{_title(name)} {as_text(getattr(value, name))}"
                for name in type(value).model_fields
            )
        case list() | tuple() | set() | frozenset():
            return ", ".join(as_text(item) for item in value) or "–"
        case dict():
            return ", ".join(f"{key}: {as_text(item)}" for key, item in value.items()) or "–"
        case _:
            return str(value)


def to_markdown(blocks: Sequence[Block]) -> str:
    """Write blocks as Markdown, for doors and models that only read text."""
    return "\n\n".join(_markdown(block) for block in blocks)


def _markdown(block: Block) -> str:
    match block:
        case Markdown(text=text):
            return text
        case Table():
            return _markdown_table(block)
        case Image(url=url, alt=alt):
            return f"![{escape(alt)}]({url})" if may_show(url) else escape(f"[{alt}] {url}")
        case Plot(title=title):
            return f"*(plot: {escape(title) or 'figure'})*"
        case Choices(question=question, options=options):
            lines = [f"{n}. {escape(label)}" for n, (label, _) in enumerate(options, start=1)]
            return "\n".join([escape(question), "", *lines])
        case JobProgress():
            return _markdown_job(block)
        case Live(blocks=blocks):
            return to_markdown(blocks)
        case Diagram():
            return _markdown_outline(block)


def _markdown_job(job: JobProgress) -> str:
    part = "" if job.fraction is None else f" {job.fraction:.0%}"
    said = f": {escape(job.message)}" if job.message else ""
    return f"**{escape(job.tool)}** is {escape(job.state)}{part} as job `{job.job_id}`{said}"


def _markdown_outline(diagram: Diagram) -> str:
    lines = [f"**{escape(diagram.title)}**", ""] if diagram.title else []
    for depth, title, detail in outline(diagram):
        said = f" ({escape(detail)})" if detail else ""
        lines.append(f"{'  ' * depth}- {escape(title)}{said}")
    return "\n".join(lines)


def _markdown_table(table: Table) -> str:
    head = "| " + " | ".join(escape(column) for column in table.columns) + " |"
    rule = "|" + " --- |" * len(table.columns)
    rows = ["| " + " | ".join(escape(cell) for cell in row) + " |" for row in table.rows]
    title = [f"**{escape(table.title)}**", ""] if table.title else []
    return "\n".join([*title, head, rule, *rows]) if rows else "\n".join([*title, "*none*"])


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()
