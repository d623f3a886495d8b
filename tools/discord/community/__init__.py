"""The community bot: welcome, roles, moderation, commands and counts, set per server."""
