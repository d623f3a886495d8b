"""What a person is shown before something is removed from knowledge."""

from collections.abc import Mapping, Sequence
from typing import Any

from knowledge.shelves import meant
from nebula.markup.words import counted
from nebula.tool.context import Context
from nebula.tool.result import Block, Markdown, Table

_SHOWN = 20


async def forget_preview(ctx: Context, values: Any) -> Sequence[Block]:
    """Show the documents that would go, with how many passages each has."""
    found = await meant(ctx.parts.db, ctx.principal, values.document)
    passages = sum(one.chunks for one in found)
    rows = [[one.title, one.source, str(one.chunks), one.owner_name] for one in found[:_SHOWN]]
    more = f" The first {_SHOWN} are shown." if len(found) > _SHOWN else ""
    said = f"{counted(len(found), 'document')} with {counted(passages, 'passage')} would be removed.{more}"
    columns = ["document", "from", "passages", "whose"]
    return [Markdown(text=said), Table(columns=columns, rows=rows)]


async def forget_versions(ctx: Context, values: Any) -> Mapping[str, str]:
    """Bind an approval to the documents that the name means now, with their present content."""
    found = await meant(ctx.parts.db, ctx.principal, values.document)
    return {f"document {one.id}": one.content_hash[:16] for one in found}
