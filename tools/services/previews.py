"""What a person is shown before a service is installed on a machine."""

from collections.abc import Mapping, Sequence
from typing import Any

from nebula.services.sizes import spoken
from nebula.tool.context import Context
from nebula.tool.result import Block, Table
from tools.services import service as rules


async def deploy_preview(ctx: Context, values: Any) -> Sequence[Block]:
    """Show what would be installed, and whether there is room."""
    client = await ctx.parts.nodes.client(values.node)
    recipe = await rules.recipe_of(client, values.service)
    hardware = await client.hardware()
    free = spoken(hardware.disks[0].free) if hardware.disks else "unknown"
    rows = [
        ["service", f"{recipe.name} {recipe.version}"],
        ["machine", values.node],
        ["disk it takes", f"{spoken(recipe.disk)} of {free} free"],
        ["card it needs", spoken(recipe.vram)],
        ["there already", "yes" if recipe.installed else "no"],
    ]
    return [Table(title="Would be installed", columns=["", ""], rows=rows)]


async def deploy_versions(ctx: Context, values: Any) -> Mapping[str, str]:
    """Bind an approval to the version that the machine would install now.

    What has no room there is refused here, before anybody is asked.
    """
    client = await ctx.parts.nodes.client(values.node)
    recipe = await rules.recipe_of(client, values.service)
    if not recipe.installed:
        rules.require_room(values.node, await client.hardware(), recipe)
    return {f"recipe {recipe.name} on {values.node}": recipe.version}
