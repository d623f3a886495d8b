"""What a person is shown before a command runs on a machine."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from nebula.errors import NotFound
from nebula.tool.context import Context
from nebula.tool.result import Block, Table
from node.protocol import CommandInfo


async def command_preview(ctx: Context, values: Any) -> Sequence[Block]:
    """Show the machine and every word of what would be started there."""
    command = await _command(ctx, values)
    words = [*command.argv, *values.args]
    rows = [
        ["machine", values.node],
        *[["program" if at == 0 else f"word {at}", word] for at, word in enumerate(words)],
        ["its owner calls it", command.description or command.name],
    ]
    return [Table(title="Would be started", columns=["", ""], rows=rows)]


async def command_versions(ctx: Context, values: Any) -> Mapping[str, str]:
    """Bind an approval to what the machine's owner means by that command now."""
    command = await _command(ctx, values)
    return {f"command {command.name} on {values.node}": json.dumps(command.argv)}


async def _command(ctx: Context, values: Any) -> CommandInfo:
    client = await ctx.parts.nodes.client(values.node)
    found = next((c for c in await client.commands() if c.name == values.command), None)
    if found is None:
        raise NotFound(
            f"{values.node} does not allow a command {values.command!r}",
            hint="nodes_get shows what its owner allows.",
        )
    return found
