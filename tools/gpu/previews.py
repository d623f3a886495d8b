"""What a person is shown before a card is taken away or given to something else."""

from collections.abc import Mapping, Sequence
from typing import Any

from nebula.errors import NotFound
from nebula.gpu.leases.rows import LeaseState
from nebula.tool.context import Context
from nebula.tool.result import Block, Table
from tools.gpu.service import plan_of


async def lease_called(ctx: Context, prefix: str) -> LeaseState:
    """Return the one lease whose id begins like this; raises NotFound."""
    found = [v for v in (await ctx.parts.leases.rows()).leases if v.id.startswith(prefix)]
    if len(found) != 1:
        raise NotFound(
            f"{'No' if not found else 'More than one'} lease has an id that begins with {prefix!r}",
            hint="gpu_list_leases shows them.",
        )
    return found[0]


async def switch_preview(ctx: Context, values: Any) -> Sequence[Block]:
    """Show what would be unloaded."""
    return plan_of(await ctx.parts.broker.plan(values.service, values.node)).render()


async def lease_preview(ctx: Context, values: Any) -> Sequence[Block]:
    """Show whose work would be stopped."""
    lease = await lease_called(ctx, values.lease)
    rows = [
        ["work", lease.what or lease.label],
        ["whose", lease.owner_name],
        ["on", lease.card],
        ["job that is cancelled", lease.job_id or "none"],
    ]
    return [Table(title="Would be stopped", columns=["", ""], rows=rows)]


async def lease_versions(ctx: Context, values: Any) -> Mapping[str, str]:
    """Bind an approval to the lease that the given beginning of an id means now."""
    lease = await lease_called(ctx, values.lease)
    return {f"lease {lease.id}": str(lease.token)}
