"""Starters and slash commands, from the tools that there are."""

from nebula.tool.definition import Effect
from nebula.tool.registry import Registry
from ui.chat import offers
from ui.chat.icons import picture_of


def test_starters_look_around_first_and_offer_one_reversible_change() -> None:
    tools = list(Registry.discover("tools", "graphs"))
    by_sentence = {text[:1].upper() + text[1:]: tool for tool in tools for text in tool.examples}
    effects = [by_sentence[text].effect for text, _ in offers.starters(tools)]
    assert len(effects) == offers.STARTERS
    assert effects.count(Effect.WRITE) == 1
    assert Effect.DESTRUCTIVE not in effects


def test_the_first_thing_offered_is_the_gpu_status() -> None:
    assert offers.starters(Registry.discover("tools"))[0] == ("Check GPU status", "gpu")


def test_someone_who_may_do_nothing_is_offered_nothing() -> None:
    assert offers.starters([]) == []
    assert offers.commands([]) == []


def test_every_tool_is_a_slash_command_with_its_summary() -> None:
    tools = list(Registry.discover("tools"))
    commands = offers.commands(tools)
    assert [command["id"] for command in commands] == [tool.name for tool in tools]
    assert all(command["description"] for command in commands)


def test_a_feature_without_a_drawn_icon_gets_the_plain_one() -> None:
    assert picture_of("gpu") == "/public/icons/cpu.svg"
    assert picture_of("nothing") == "/public/icons/wrench.svg"
