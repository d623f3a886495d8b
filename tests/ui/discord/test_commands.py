"""Slash commands: made from the tools, told once, completed, typed, and run as turns."""

import pytest

from nebula.tool.registry import Registry
from tests.fakes.discord.payloads import GENERAL
from tests.graphs.lab import DONE
from tests.ui.discord.house import House
from ui.discord.commands import Commands, short

live = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def commands() -> Commands:
    registry = Registry.discover("tools", "graphs")
    return Commands(registry, registry.about)


def _parts(payload):
    for command in payload:
        yield command
        for below in command["options"]:
            yield below
            yield from below.get("options", ())


def test_all_tools_fit_discords_limits(commands: Commands) -> None:
    assert len(commands.payload) <= 100
    assert commands.left_out == []
    for part in _parts(commands.payload):
        assert 1 <= len(part["description"]) <= 100
        assert 1 <= len(part["name"]) <= 32
        assert part["name"] == part["name"].lower()
        assert len(part.get("options", ())) <= 25
        assert len(part.get("choices", ())) <= 25
        required = [each["required"] for each in part.get("options", ()) if "required" in each]
        assert required == sorted(required, reverse=True), "what is needed comes first"


def test_every_command_means_its_tool_and_no_secret_goes_through_discord(
    commands: Commands,
) -> None:
    tool = commands.tool("gpu", "status")
    assert tool is not None
    assert tool.name == "gpu_status"
    assert commands.tool("discord", "link") is None, "its answer is a secret"
    assert commands.tool("notify", "set_channel") is None, "it takes one"


def test_the_same_tools_make_the_same_commands(commands: Commands) -> None:
    registry = Registry.discover("tools", "graphs")
    again = Commands(reversed(list(registry)), registry.about)
    assert again.sha256 == commands.sha256
    fewer = Commands(list(registry)[1:], registry.about)
    assert fewer.sha256 != commands.sha256


def test_a_feature_with_more_tools_than_a_command_holds_gets_a_second_one() -> None:
    registry = Registry.discover("tools", "graphs")
    tool = registry.get("gpu_status")
    from dataclasses import replace

    many = [replace(tool, name=f"gpu_status_{n:02}") for n in range(60)]
    made = Commands(many, {})
    groups = [(each["name"], len(each["options"])) for each in made.payload[3:]]
    assert groups == [("gpu", 25), ("gpu2", 25), ("gpu3", 10)]
    assert made.tool("gpu3", "status_59") is not None


def test_a_long_description_is_cut_between_words() -> None:
    assert short("word " * 40).endswith("word…")
    assert len(short("word " * 40)) <= 100
    assert short("  two\n lines ") == "two lines"


@live
async def test_commands_have_typed_options_and_choices(home: House) -> None:
    lamps = next(each for each in home.discord.commands if each["name"] == "lamps")
    tint = next(each for each in lamps["options"] if each["name"] == "tint")
    options = {each["name"]: each for each in tint["options"]}
    assert {name: each["type"] for name, each in options.items()} == {
        "shade": 3,
        "level": 4,
        "service": 3,
        "blink": 5,
        "factor": 10,
        "names": 3,
    }
    assert [c["value"] for c in options["shade"]["choices"]] == ["warm", "cold"]
    assert (options["level"]["min_value"], options["level"]["max_value"]) == (0, 100)
    assert options["service"]["autocomplete"] is True
    assert len(tint["description"]) <= 100


@live
async def test_commands_are_told_again_only_when_they_changed(home: House) -> None:
    told = home.discord.command_syncs
    await home.restart()
    assert home.discord.command_syncs == told
    from tools.discord.servers import Servers

    await Servers(home.app.parts.db).note_bot(commands_sha256="another")
    await home.restart()
    assert home.discord.command_syncs == told + 1


@live
async def test_a_command_runs_its_tool_with_the_values_as_typed(home: House) -> None:
    ann = await home.person()
    await ann.slash(
        "lamps",
        "tint",
        shade="warm",
        level=7,
        blink=True,
        factor=1.5,
        service='a "b" c=d',
        names="red, blue",
    )
    await home.answer(ann.dm, "All shades")
    assert DONE == ["tint warm 7 a \"b\" c=d True 1.5 ['red', 'blue']"]
    session = (await home.lab.jarvis.sessions.list(home.principals[ann.id]))[0]
    said = await home.lab.jarvis.sessions.messages(session.id, home.principals[ann.id])
    assert said[0].text.startswith("/lamps_tint ")


@live
async def test_results_come_as_code_files_and_numbers(home: House) -> None:
    ann = await home.person()
    await ann.slash("lamps", "tint", shade="cold")
    answer = await home.answer(ann.dm, "All shades")
    with_files = await home.discord.until(
        lambda: next((s for s in home.discord.by_bot(ann.dm) if s.files), None)
    )
    assert set(with_files.files) == {"all-shades-1.csv", "a-lamp-2.png"}
    assert with_files.files["a-lamp-2.png"] == b"hallo"
    assert "'=1+1" in with_files.files["all-shades-1.csv"].decode()
    assert "30 rows" in answer.text
    assert "0.25" in answer.text
    assert answer.text.count("```") % 2 == 0


@live
async def test_a_command_in_a_channel_is_answered_there(home: House) -> None:
    ann = await home.person()
    await ann.slash("lamps", "show", GENERAL, name="red")
    answer = await home.answer(GENERAL, "red")
    assert answer.doc["channel_id"] == GENERAL
    assert DONE == ["show red"]


@live
async def test_a_destructive_command_asks_first(home: House) -> None:
    ann = await home.person()
    await ann.slash("lamps", "smash", name="red")
    question = await home.discord.until(
        lambda: next((s for s in home.discord.by_bot(ann.dm) if s.buttons), None)
    )
    assert DONE == []
    await ann.presses(question, "approve")
    await home.discord.until(lambda: DONE == ["smash red"])


@live
async def test_a_stranger_runs_and_learns_nothing(home: House) -> None:
    eve = home.stranger("eve")
    made = await eve.slash("lamps", "show", name="red")
    answer = await home.discord.until(lambda: home.discord.callbacks.get(made["id"]))
    assert "not linked" in answer["data"]["content"]
    assert answer["data"]["flags"] & 64
    assert await eve.types("lamps", "tint", "service", "") == []
    assert DONE == []


@live
async def test_values_are_completed_from_what_is_known_now(home: House) -> None:
    ann = await home.person()
    services = home.app.parts.services
    names = [name for name in services.names() if name.startswith("o")]
    assert names, "the service map of a fresh home knows ollama"
    assert names[0] in await ann.types("lamps", "tint", "service", "o")
    assert await ann.types("lamps", "tint", "service", "zzzz") == []
