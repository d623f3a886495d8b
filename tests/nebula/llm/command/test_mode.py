"""Command mode over a small house: what it does with what people type."""

from typing import Any

import pytest

from nebula.auth.principal import Caller
from nebula.llm.command.answers import Answer, Call, Choices, Reply, Unknown
from nebula.llm.command.mode import CommandMode
from nebula.llm.command.smalltalk import example
from nebula.llm.embedding import Embedder
from nebula.tool.definition import AnyTool, BadDeclaration, Effect, tool
from nebula.tool.phrases import plain_forms
from nebula.tool.registry import Registry
from nebula.tool.retrieval import ToolIndex
from tests.nebula.llm.command.house import SLOT_VALUES, TOOLS, Done
from tests.people import caller

_INDEX = ToolIndex(Registry(TOOLS), Embedder())


@pytest.fixture
def mode() -> CommandMode:
    about = {"gpu": "Sees and switches what the GPUs do."}
    return CommandMode(_INDEX, slot_values=SLOT_VALUES, about=about)


CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("check GPU status", "gpu_status", {}),
    ("CHECK GPU STATUS!!", "gpu_status", {}),
    ("Hey Jarvis, could you please check the GPU status for me?", "gpu_status", {}),
    ("check the gpu status on my gaming pc", "gpu_status", {"node": "gaming-pc"}),
    ("what is on the GPU?", "gpu_status", {}),
    ("switch to Stable Diffusion", "gpu_switch", {"service": "sd-webui"}),
    ("switch the gpu to SD-WebUI please", "gpu_switch", {"service": "sd-webui"}),
    ("Switch to Comfy UI.", "gpu_switch", {"service": "comfyui"}),
    ("load llama3.2:3b on homeserver", "gpu_switch", {"service": "llama3.2:3b", "node": "homeserver"}),
    ("show me the last 20 lines of the logs of ollama", "services_logs", {"service": "ollama", "lines": 20}),
    ("show the last twenty lines of the logs from comfyui", "services_logs", {"service": "comfyui", "lines": 20}),
    ("notify ops that the build, finally, is done!", "notify_send", {"channels": ["ops"], "message": "the build, finally, is done!"}),
    ("send an alert to ops and discord saying hello", "notify_send", {"channels": ["ops", "discord"], "message": "hello", "level": "alert"}),
    ("look up https://x.org/a?b=c.", "knowledge_search", {"query": "https://x.org/a?b=c"}),
    ("remember that my wife's name is Ann", "recall_save", {"fact": "my wife's name is Ann"}),
    ("turn off the living room", "home_set", {"lamp": "living_room", "on": False}),
    ("dim kitchen to 40 percent", "home_set", {"lamp": "kitchen", "percent": 40}),
    ("delete user bob", "users_delete", {"name": "bob"}),
    ("how much VRAM is free", "gpu_status", {}),
    ("\uff43\uff48\uff45\uff43\uff4b \uff47\uff50\uff55 \uff53\uff54\uff41\uff54\uff55\uff53", "gpu_status", {}),
    ("check\u200b gpu\u202e status\u0000", "gpu_status", {}),
    ("/gpu_status", "gpu_status", {}),
    ("/gpu_switch comfyui", "gpu_switch", {"service": "comfyui"}),
    ("/gpu_switch Stable Diffusion", "gpu_switch", {"service": "sd-webui"}),
    ("/GPU-Switch service=ollama node=\"gaming pc\"", "gpu_switch", {"service": "ollama", "node": "gaming-pc"}),
    ("/notify_send channels=ops, discord message=all is well level=success", "notify_send", {"channels": ["ops", "discord"], "message": "all is well", "level": "success"}),
    ("/notify_send channels=[\"ops\"] message=\"x channels=y\"", "notify_send", {"channels": ["ops"], "message": "x channels=y"}),
    ("/knowledge_search how do backups work? limit=3", "knowledge_search", {"query": "how do backups work?", "limit": 3}),
    ("/home_set lamp=living_room on=yes warmth=2.5", "home_set", {"lamp": "living_room", "on": True, "warmth": 2.5}),
]  # fmt: skip


@pytest.mark.parametrize(("said", "name", "arguments"), CALLS)
async def test_a_plain_command_becomes_one_validated_call(
    mode: CommandMode, said: str, name: str, arguments: dict[str, Any]
) -> None:
    assert await mode.interpret(said, TOOLS) == Call(name, arguments)
    assert mode.match_exact(said, TOOLS) == Call(name, arguments)


@pytest.mark.parametrize("each", TOOLS, ids=lambda each: each.name)
async def test_every_sentence_and_example_leads_to_its_tool(
    mode: CommandMode, each: AnyTool
) -> None:
    forms = [form for template in each.says for form in plain_forms(template)]
    for said in [*forms, *each.examples]:
        assert each.name in _tools_of(await mode.interpret(said, TOOLS)), said


def _tools_of(answer: Answer) -> list[str]:
    if isinstance(answer, Call):
        return [answer.name]
    assert isinstance(answer, Choices), answer
    asked = [answer.asked.tool] if answer.asked else []
    return asked + [sends.split()[0].removeprefix("/") for _, sends in answer.options]


@pytest.mark.parametrize(
    "said",
    [
        "how is my graphics card doing",
        "free memory on the graphics card?",
    ],
)
async def test_other_words_run_a_tool_that_only_reads(mode: CommandMode, said: str) -> None:
    assert await mode.interpret(said, TOOLS) == Call("gpu_status", {})
    assert mode.match_exact(said, TOOLS) is None


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("get rid of the account of bob", "users_delete"),
        ("drop a message on discord", "notify_send"),
        ("bring up stable diffusion on the graphics card", "gpu_switch"),
        ("make the living room lamp brighter", "home_set"),
    ],
)
async def test_other_words_never_run_what_changes_the_world(
    mode: CommandMode, said: str, name: str
) -> None:
    answer = await mode.interpret(said, TOOLS)
    assert isinstance(answer, Choices)
    assert name in _tools_of(answer)
    assert len(answer.options) <= 5


async def test_an_offer_carries_what_was_understood_and_picking_it_runs(mode: CommandMode) -> None:
    offer = await mode.interpret("bring up stable diffusion on the graphics card", TOOLS)
    assert isinstance(offer, Choices)
    number = 1 + _tools_of(offer).index("gpu_switch")
    expected = Call("gpu_switch", {"service": "sd-webui"})
    for said in (str(number), f"number {number}", f"#{number}.", offer.options[number - 1][0]):
        assert await mode.interpret(said, TOOLS, pending=offer) == expected
    assert await mode.interpret(offer.options[number - 1][1], TOOLS) == expected


async def test_a_number_that_is_not_on_offer_is_refused(mode: CommandMode) -> None:
    offer = Choices(question="Which?", options=[("A", "/gpu_status"), ("B", "/services_list")])
    assert await mode.interpret("the second one", TOOLS, pending=offer) == Call("services_list", {})
    refused = await mode.interpret("7", TOOLS, pending=offer)
    assert isinstance(refused, Reply)
    assert "only 2" in refused.text
    declined = await mode.interpret("never mind", TOOLS, pending=offer)
    assert declined == Reply("All right, nothing was done.")


async def test_a_missing_argument_is_asked_for_and_its_answer_completes_the_call(
    mode: CommandMode,
) -> None:
    asked = await mode.interpret("/gpu_switch node=homeserver", TOOLS)
    assert isinstance(asked, Choices)
    assert asked.question.startswith("Which service?")
    assert ("Stable Diffusion", "/gpu_switch node=homeserver service=sd-webui") in asked.options
    expected = Call("gpu_switch", {"node": "homeserver", "service": "sd-webui"})
    for said in ("stable diffusion", "3", "sd webui"):
        assert await mode.interpret(said, TOOLS, pending=asked) == expected


async def test_a_free_text_argument_takes_the_next_message_as_it_is(mode: CommandMode) -> None:
    asked = await mode.interpret("/notify_send channels=ops", TOOLS)
    assert isinstance(asked, Choices)
    assert asked.asked is not None
    assert asked.asked.parameter == "message"
    done = await mode.interpret("It works: 2 of 3!", TOOLS, pending=asked)
    assert done == Call("notify_send", {"channels": ["ops"], "message": "It works: 2 of 3!"})


async def test_a_new_command_wins_over_an_open_question(mode: CommandMode) -> None:
    asked = await mode.interpret("/notify_send channels=ops", TOOLS)
    assert isinstance(asked, Choices)
    assert await mode.interpret("check gpu status", TOOLS, pending=asked) == Call("gpu_status", {})


async def test_an_unknown_service_is_asked_about_with_the_known_ones(mode: CommandMode) -> None:
    answer = await mode.interpret("load flurbl", TOOLS)
    assert isinstance(answer, Choices)
    assert "flurbl" in answer.question
    assert [label for label, _ in answer.options] == ["ollama", "comfyui", "Stable Diffusion"]
    assert mode.match_exact("load flurbl", TOOLS) is None


async def test_a_value_out_of_bounds_is_never_passed_on(mode: CommandMode) -> None:
    answer = await mode.interpret("/services_logs ollama lines=5000", TOOLS)
    assert isinstance(answer, Choices)
    assert answer.asked is not None
    assert answer.asked.parameter == "lines"
    assert answer.asked.arguments == {"service": "ollama"}
    assert "1000" in answer.question


async def test_what_is_told_about_may_be_a_thing_that_is_here(mode: CommandMode) -> None:
    """The manual explains; only where nothing here is clearly meant is it asked."""
    here = await mode.interpret("tell me about the GPU status", TOOLS)
    assert isinstance(here, Call) and here.name == "gpu_status"
    there = await mode.interpret("tell me about fencing tokens", TOOLS)
    assert isinstance(there, Call) and there.name == "knowledge_search"


async def test_a_question_about_how_is_looked_up_in_the_manual(mode: CommandMode) -> None:
    said = "How do I connect ComfyUI?"
    assert await mode.interpret(said, TOOLS) == Call("knowledge_search", {"query": said})
    without = [each for each in TOOLS if each.name != "knowledge_search"]
    assert not isinstance(await mode.interpret(said, without), Call)


async def test_a_mistyped_command_is_answered_with_those_that_look_like_it(
    mode: CommandMode,
) -> None:
    answer = await mode.interpret("/gpu_swich comfyui", TOOLS)
    assert isinstance(answer, Choices)
    assert "/gpu_switch" in [sends for _, sends in answer.options]
    family = await mode.interpret("/gpu", TOOLS)
    assert isinstance(family, Choices)
    assert [sends for _, sends in family.options] == ["/gpu_status", "/gpu_switch"]
    strange = await mode.interpret("/gpu_status colour=blue", TOOLS)
    assert isinstance(strange, Unknown)
    assert "`node=`" in strange.text


@pytest.mark.parametrize(
    "said", ["tell me a joke", "asdf qwer zxcv", "/flurbl", "", " \u200b ", "x" * 5000]
)
async def test_what_nobody_understands_is_said_to_be_so(mode: CommandMode, said: str) -> None:
    answer = await mode.interpret(said, TOOLS)
    assert isinstance(answer, Unknown)
    assert mode.match_exact(said, TOOLS) is None


async def test_an_unknown_request_lists_what_can_be_done_and_shows_no_markup(
    mode: CommandMode,
) -> None:
    answer = await mode.interpret("sing <b>opera</b> [x](http://evil)", TOOLS)
    assert isinstance(answer, Unknown)
    assert (
        "- **gpu**: Sees and switches what the GPUs do. Try “how much VRAM is free”." in answer.text
    )
    assert "<b>" not in answer.text
    assert "](http" not in answer.text


@pytest.mark.parametrize(
    "said", ["help", "What can you do?", "hello", "Thanks!", "yes", "no", "bye"]
)
async def test_small_talk_is_answered_without_a_tool(mode: CommandMode, said: str) -> None:
    answer = await mode.interpret(said, TOOLS)
    assert type(answer) is Reply
    assert answer.text


async def test_only_what_the_caller_may_do_is_understood_or_named(mode: CommandMode) -> None:
    viewer = caller("viewer")
    assert not isinstance(await mode.interpret("delete user bob", TOOLS, viewer), Call)
    assert isinstance(await mode.interpret("check gpu status", TOOLS, viewer), Call)
    helped = await mode.interpret("help", TOOLS, viewer)
    assert isinstance(helped, Reply)
    assert "users" not in helped.text


@pytest.mark.parametrize(("by_model", "found"), [(False, True), (True, False)])
async def test_a_tool_for_people_only_is_closed_to_models(
    mode: CommandMode, by_model: bool, found: bool
) -> None:
    asking: Caller = caller("admin", by_model=by_model)
    answer = await mode.interpret("reveal the secret openai", TOOLS, asking)
    assert (answer == Call("secrets_reveal", {"name": "openai"})) is found


def test_free_text_that_holds_a_second_command_is_left_to_a_model(mode: CommandMode) -> None:
    assert mode.match_exact("look up backups and then switch to comfyui", TOOLS) is None


async def test_known_values_are_read_anew_for_every_sentence() -> None:
    names = ["ollama"]
    mode = CommandMode(_INDEX, slot_values={"service": lambda: names})
    assert mode.match_exact("switch to whisper", TOOLS) is None
    names.append("whisper")
    assert mode.match_exact("switch to whisper", TOOLS) == Call(
        "gpu_switch", {"service": "whisper"}
    )


@pytest.mark.parametrize("template", ["switch to {servise}", "switch (to"])
def test_a_template_that_cannot_work_is_a_bad_declaration(template: str) -> None:
    @tool(effect=Effect.READ, says=[template], examples=["x"])
    async def gpu_broken(ctx: Any) -> Done:
        """Do nothing."""
        return Done()

    with pytest.raises(BadDeclaration, match="gpu_broken"):
        CommandMode(_INDEX).match_exact("switch to ollama", [gpu_broken])


def test_an_example_is_shown_for_a_tool_that_has_only_templates() -> None:
    home = next(each for each in TOOLS if each.name == "home_set")
    assert example(home) == "turn lamp on"
