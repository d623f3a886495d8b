"""What a person is shown before a model is deleted."""

from collections.abc import Mapping, Sequence
from typing import Any

from nebula.services.sizes import gigabytes
from nebula.tool.context import Context
from nebula.tool.result import Block, Table
from tools.models.remote import RemoteFile
from tools.models.removal import far_file, named
from tools.models.schemas import ModelEntry


async def delete_preview(ctx: Context, values: Any) -> Sequence[Block]:
    """Show which file would go, and what room that makes."""
    entry, far = await _found(ctx, values)
    loaded = {True: "yes", False: "no", None: "the service does not say"}[entry.loaded]
    size = entry.size_gb if far is None else gigabytes(far.size)
    rows = [
        ["model", entry.name],
        ["kind", entry.kind],
        ["service", f"{entry.service} on {entry.node}"],
        *([["file", f"{entry.node}: {far.path}"]] if far else []),
        ["frees", "unknown" if size is None else f"{size:g} GB"],
        ["loaded now", loaded],
    ]
    return [Table(title="Would be deleted", columns=["", ""], rows=rows)]


async def delete_versions(ctx: Context, values: Any) -> Mapping[str, str]:
    """Bind an approval to the one model that the name means now."""
    entry, far = await _found(ctx, values)
    size = "unknown" if entry.size_gb is None else f"{entry.size_gb:g} GB"
    if far is not None:
        size = f"{far.size:,} bytes at {far.path}"
    return {f"{entry.name} of {entry.service} on {entry.node}": size}


async def _found(ctx: Context, values: Any) -> tuple[ModelEntry, RemoteFile | None]:
    await ctx.parts.services.refresh()
    spec, entry = await named(ctx, values.model, values.service, values.node)
    return entry, await far_file(ctx, spec, entry)
