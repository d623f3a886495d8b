"""Where an agent may report to."""

from nebula.errors import PermissionDenied
from nebula.near import near
from nebula.tool.context import Context
from tools.agents.spec import at_field
from tools.discord.schemas import FoundPlace
from tools.notify.schemas import ChannelList


async def checked_place(ctx: Context, name: str | None) -> str | None:
    """Return the place that is meant: a notification channel, or one of the Discord bot.

    Raises:
        InvalidInput: when there is none like that.
        PermissionDenied: when its owner may not report there.
    """
    if not name:
        return None
    if not ctx.principal.can("notify:write"):
        raise PermissionDenied("Reports to a channel need the permission notify:write.")
    listed = await ctx.calls.call_by_name("notify_list_channels", {})
    assert isinstance(listed, ChannelList)
    known = {channel.name.casefold(): channel.name for channel in listed.channels}
    folded = name.casefold()
    if folded not in known and folded.partition(":")[0] == "discord":
        where = name.partition(":")[2]
        found = await ctx.calls.call_by_name("discord_find_place", {"place": where})
        assert isinstance(found, FoundPlace)
        return found.place
    if folded not in known:
        hint = (
            near(name, known.values()) or "Add one with /notify_set_channel first, or say discord."
        )
        raise at_field("report_to", f"There is no notification channel {name!r}", hint)
    return known[folded]
