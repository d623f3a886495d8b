"""What a person is shown before a setting changes."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from nebula.tool.context import Context
from nebula.tool.result import Block, Table
from tools.setup.service import SECRET, Place, earlier_value, read_value, shown_value


async def apply_preview(ctx: Context, values: Any) -> Sequence[Block]:
    """Show the old value and the new one; a secret stays hidden."""
    place = Place.of(ctx.parts.settings)
    before = await asyncio.to_thread(read_value, place, values.setting)
    if values.undo:
        after = await earlier_value(place, values.setting)
    else:
        after = "x" if values.setting in SECRET else values.value
    rows = [
        ["now", shown_value(values.setting, before) or "not set"],
        ["then", shown_value(values.setting, after) or "not set"],
        ["written to", place.file(values.setting).name],
    ]
    return [Table(title=str(values.setting), columns=["", ""], rows=rows)]


async def apply_versions(ctx: Context, values: Any) -> Mapping[str, str]:
    """Bind an approval to the value that would be replaced."""
    now = await asyncio.to_thread(read_value, Place.of(ctx.parts.settings), values.setting)
    version = "not set" if now is None else hashlib.sha256(now.encode()).hexdigest()[:16]
    return {f"setting {values.setting}": version}
