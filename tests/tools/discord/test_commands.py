"""What people say about their Discord server is understood without a model."""

from typing import Any

import pytest

from nebula.llm.command.answers import Call
from nebula.llm.command.mode import CommandMode
from nebula.llm.embedding import Embedder
from nebula.tool.registry import Registry
from nebula.tool.retrieval import ToolIndex

REGISTRY = Registry.discover("tools", "graphs")
MODE = CommandMode(ToolIndex(REGISTRY, Embedder()), slot_values={}, about=REGISTRY.about)

SAID: list[tuple[str, str, dict[str, Any]]] = [
    ("set the discord moderation to tell", "discord_set_settings", {"moderation": "tell"}),
    (
        "switch discord moderation off on lab",
        "discord_set_settings",
        {"moderation": "off", "server": "lab"},
    ),
    (
        "greet new discord members with Welcome {user}!",
        "discord_set_settings",
        {"welcome": "Welcome {user}!"},
    ),
    ("give new discord members the role crew", "discord_set_settings", {"autorole": "crew"}),
    ("let the discord moderation act", "discord_enforce_moderation", {}),
    (
        "forbid the word scam on discord",
        "discord_set_moderation",
        {"add_words": ["scam"]},
    ),
    (
        "add the discord command rules with be kind",
        "discord_set_command",
        {"name": "rules", "text": "be kind"},
    ),
    ("remove the discord command rules", "discord_delete_command", {"name": "rules"}),
    ("ban eve on discord", "discord_moderate", {"action": "ban", "member": "eve"}),
    (
        "kick the discord member eve",
        "discord_moderate",
        {"action": "kick", "member": "eve"},
    ),
    ("show the discord moderation actions", "discord_list_actions", {}),
    ("undo the discord action act_1", "discord_undo_action", {"action": "act_1"}),
    ("show the discord stats", "discord_stats", {}),
    (
        "post the server is back on discord in general",
        "discord_send",
        {"text": "the server is back", "channel": "general"},
    ),
    ("show the scheduled discord messages", "discord_list_scheduled", {}),
    (
        "cancel the scheduled discord message msg_1",
        "discord_cancel_scheduled",
        {"message": "msg_1"},
    ),
    ("show the results of the discord poll", "discord_get_poll", {}),
    ("close the discord poll", "discord_end_poll", {}),
]


@pytest.mark.parametrize(("said", "name", "arguments"), SAID, ids=[each[0] for each in SAID])
def test_a_plain_command_becomes_one_call(said: str, name: str, arguments: dict[str, Any]) -> None:
    assert MODE.match_exact(said, list(REGISTRY)) == Call(name, arguments)
