"""Where an agent may report to."""

from nebula.errors import PermissionDenied
from nebula.near import near
from nebula.tool.context import Context
from tools.agents.spec import at_field
from tools.notify.schemas import ChannelList


async def checked_place(ctx: Context, name: str | None) -> str | None:
    """Return the channel that is meant; raises InvalidInput when there is none of that name."""
    if not name:
        return None
    if not ctx.principal.can("notify:write"):
        raise PermissionDenied("Reports to a channel need the permission notify:write.")
    listed = await ctx.calls.call_by_name("notify_list_channels", {})
    assert isinstance(listed, ChannelList)
    known = {channel.name.casefold(): channel.name for channel in listed.channels}
    if name.casefold() not in known:
        hint = near(name, known.values()) or "Add one with /notify_set_channel first."
        raise at_field("report_to", f"There is no notification channel {name!r}", hint)
    return known[name.casefold()]
