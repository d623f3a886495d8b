"""What a person is shown before a model is deleted."""

from collections.abc import Mapping, Sequence
from typing import Any

from nebula.tool.context import Context
from nebula.tool.result import Block, Table
from tools.models.removal import named
from tools.models.schemas import ModelEntry


async def delete_preview(ctx: Context, values: Any) -> Sequence[Block]:
    """Show which file would go, and what room that makes."""
    entry = await _entry(ctx, values)
    loaded = {True: "yes", False: "no", None: "the service does not say"}[entry.loaded]
    rows = [
        ["model", entry.name],
        ["kind", entry.kind],
        ["service", f"{entry.service} on {entry.node}"],
        ["frees", "unknown" if entry.size_gb is None else f"{entry.size_gb:g} GB"],
        ["loaded now", loaded],
    ]
    return [Table(title="Would be deleted", columns=["", ""], rows=rows)]


async def delete_versions(ctx: Context, values: Any) -> Mapping[str, str]:
    """Bind an approval to the one model that the name means now."""
    entry = await _entry(ctx, values)
    size = "unknown" if entry.size_gb is None else f"{entry.size_gb:g} GB"
    return {f"{entry.name} of {entry.service} on {entry.node}": size}


async def _entry(ctx: Context, values: Any) -> ModelEntry:
    await ctx.parts.services.refresh()
    _, entry = await named(ctx, values.model, values.service, values.node)
    return entry
