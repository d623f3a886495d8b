"""How full the disks are: of this machine, and of every machine that joined."""

import asyncio
import shutil
from typing import Annotated

from pydantic import Field

from nebula.services.nodes.node import Node, NodeHealth
from nebula.tool.context import Context
from nebula.tool.definition import Effect, tool
from tools.nodes.schemas_disks import HERE, DiskEntry, DiskReport


@tool(
    effect=Effect.READ,
    outside=True,
    rest="GET /nodes/disks",
    says=[
        "[show|list|check] [me] [the|all] (disks|disk space)",
        "how full are the disks",
        "which (disks|disk) (are|is) [nearly] full",
    ],
    examples=[
        "is there enough disk space everywhere",
        "which machine runs out of disk",
        "how much space is left on the NAS",
    ],
)
async def nodes_disks(
    ctx: Context,
    below_percent: Annotated[
        float, Field(gt=0, le=100, description="Free space below this share counts as low")
    ] = 10.0,
) -> DiskReport:
    """Show how much room is left on the disks of this machine and of every machine that joined."""
    here = await asyncio.to_thread(shutil.disk_usage, ctx.parts.settings.home)
    disks = [DiskEntry.of(HERE, str(ctx.parts.settings.home), here.total, here.free)]
    silent = []
    for node in await ctx.parts.nodes.list():
        if node.health is NodeHealth.OFFLINE:
            silent.append(node.name)
        else:
            disks += _disks(node)
    low = [disk for disk in disks if disk.free_percent < below_percent]
    return DiskReport(
        disks=disks, low=low, silent=silent, summary="; ".join(disk.said for disk in low)
    )


def _disks(node: Node) -> list[DiskEntry]:
    """Return what a machine told of its disks; of the first, the newest word."""
    found = []
    for at, disk in enumerate(node.hardware.disks):
        newest = node.metrics.disk_free if at == 0 else None
        free = disk.free if newest is None else newest
        found.append(DiskEntry.of(node.name, disk.path, disk.total, free))
    return found
