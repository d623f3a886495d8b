"""Text for messengers: it pings nobody, and a link says where it leads."""

import re

from nebula.markup.text import prose

# @everyone and @here; <@user>, <@&role>, <#channel>, </command:…>, <:emoji:…>, <t:…> of Discord;
# <!channel>, <!subteam^…> of Slack, whose <https://…|text> is a masked link.
_PINGS = re.compile(r"@(?=everyone|here|channel|all\b|room\b|[!&]?\d)", re.IGNORECASE)
_TAGS = re.compile(r"<(?=[@#!/:]|a:|t:|id:|sound:)")
_MASKED = re.compile(r"\](?=\()")
_SLACK = re.compile(r"<((?:https?|mailto):[^\s|<>]*)\|([^<>]*)>", re.IGNORECASE)
_BREAK = "\u200b"


def unmentioned(text: str) -> str:
    """Return text in which a messenger finds no mention, no command and no masked link."""
    plain = _SLACK.sub(r"\2 (\1)", prose(text))
    plain = _PINGS.sub(f"@{_BREAK}", plain)
    plain = _TAGS.sub(f"<{_BREAK}", plain)
    return _MASKED.sub(f"]{_BREAK}", plain)
