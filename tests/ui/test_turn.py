"""A turn's events drawn into a recording, as history and the live page draw them."""

import json
from urllib.parse import unquote

from graphs.events import (
    ApprovalEvent,
    ChatEvent,
    DoneEvent,
    ErrorEvent,
    MessageEvent,
    PlanEvent,
    PlanStep,
    SessionEvent,
    StepEvent,
    TokenEvent,
    ToolEvent,
)
from nebula.tool.render import to_markdown
from nebula.tool.result import Block, Choices, Image, Live, Markdown, Plot, Table
from ui.chat.screen import Element, Recording, Step
from ui.chat.turn import Turn


async def drawn(*events: ChatEvent) -> Recording:
    recording = Recording()
    turn = Turn(recording, run_id="run")
    await turn.begin()
    for event in events:
        await turn.show(event)
    return recording


def step(recording: Recording, step_id: str) -> Step:
    return next(s for s in recording.steps if s["id"] == step_id)


def document(element: Element) -> object:
    return json.loads(unquote(element["url"].partition(",")[2]))


async def test_tokens_add_up_to_a_message() -> None:
    tokens = [TokenEvent(message_id="m", text=text) for text in ("Hello ", "there")]
    recording = await drawn(*tokens)
    assert step(recording, "m")["output"] == "Hello there"
    assert step(recording, "m")["streaming"] is True


async def test_a_restarted_message_drops_what_it_had_streamed() -> None:
    recording = await drawn(
        TokenEvent(message_id="m", text="Hello from the first model"),
        TokenEvent(message_id="m", text="Good ", restart=True),
        TokenEvent(message_id="m", text="answer"),
    )
    assert step(recording, "m")["output"] == "Good answer"


async def test_a_finished_message_replaces_its_stream() -> None:
    recording = await drawn(
        TokenEvent(message_id="m", text="half"), MessageEvent(message_id="m", text="whole")
    )
    assert step(recording, "m")["output"] == "whole"
    assert step(recording, "m")["streaming"] is False


async def test_blocks_are_shown_in_place_of_the_text_that_says_the_same() -> None:
    blocks = [
        Markdown(text="Two cards."),
        Table(title="Cards", columns=["name"], rows=[["a"]]),
        Plot(title="Memory", figure={"data": [], "layout": {"width": 900}}),
        Image(url="/api/artefacts/1", alt="a cat"),
        Choices(question="Which?", options=[("A", "say a")]),
    ]
    recording = await drawn(MessageEvent(message_id="m", text="Two cards. | name |", blocks=blocks))
    assert step(recording, "m")["output"] == "Two cards."
    kinds = [(e["type"], e["name"]) for e in recording.elements]
    assert kinds == [
        ("custom", "ResultTable"),
        ("plotly", "Memory"),
        ("image", "a cat"),
        ("custom", "Choices"),
    ]
    assert all(e["forId"] == "m" for e in recording.elements)


async def test_an_answer_that_only_repeats_a_result_is_shown_as_that_result() -> None:
    blocks = [Table(columns=["name"], rows=[["a"]])]
    recording = await drawn(
        ToolEvent(call_id="c", name="gpu_status", status="done", blocks=blocks),
        MessageEvent(message_id="m", text=to_markdown(blocks)),
        MessageEvent(message_id="n", text="There is one card, called a."),
    )
    assert [(e["name"], e["forId"]) for e in recording.elements] == [("ResultTable", "m")]
    assert step(recording, "m")["output"] == ""
    assert step(recording, "n")["output"] == "There is one card, called a."


async def test_a_plot_travels_inside_its_element_and_fits_the_page() -> None:
    plot = Plot(figure={"data": [{"y": [1]}], "layout": {"width": 900, "title": {"text": "x"}}})
    recording = await drawn(MessageEvent(message_id="m", text="", blocks=[plot]))
    figure = document(recording.elements[0])
    assert isinstance(figure, dict)
    assert figure["data"] == [{"y": [1]}]
    assert "width" not in figure["layout"]
    assert figure["layout"]["paper_bgcolor"] == "rgba(0,0,0,0)"


async def test_a_tool_call_shows_arguments_progress_and_result_in_one_step() -> None:
    calls = [
        ToolEvent(call_id="c", name="gpu_switch", status="running", arguments={"service": "SD"}),
        ToolEvent(
            call_id="c", name="gpu_switch", status="running", progress=0.4, message="Unloading"
        ),
    ]
    running = step(await drawn(*calls), "c")
    assert running["name"] == "gpu_switch · 40% · Unloading"
    assert json.loads(running["input"]) == {"service": "SD"}
    assert running["end"] is None
    done = ToolEvent(
        call_id="c", name="gpu_switch", status="done", blocks=[Markdown(text="Loaded.")]
    )
    finished = step(await drawn(*calls, done), "c")
    assert finished["name"] == "gpu_switch"
    assert finished["output"] == "Loaded."
    assert finished["end"] is not None


async def test_a_failed_tool_call_says_what_to_do_next_without_markup_from_the_error() -> None:
    error = {"code": "x", "detail": "No node <b>desk</b>", "hint": "List the nodes."}
    failed = step(
        await drawn(ToolEvent(call_id="c", name="gpu_plan", status="failed", error=error)), "c"
    )
    assert failed["isError"] is True
    assert "<b>" not in failed["output"].replace("\\<b\\>", "")
    assert "**Next step:** List the nodes." in failed["output"]


async def test_a_waiting_call_gets_a_card_with_every_argument() -> None:
    recording = await drawn(
        ToolEvent(call_id="c", name="users_delete", status="waiting", arguments={"user": "bob"}),
        ApprovalEvent(
            approval_id="apr_1",
            tool="users_delete",
            arguments={"user": "bob", "note": "x" * 5000},
            effect="destructive",
            reason="It cannot be undone.",
            expires_at="2026-01-01T00:00:00+00:00",
        ),
    )
    card = recording.elements[0]
    assert (card["name"], card["forId"]) == ("ApprovalCard", "ask-apr_1")
    assert card["props"]["arguments"] == {"user": "bob", "note": "x" * 5000}


async def test_a_plan_is_a_task_list_that_changes_in_place() -> None:
    recording = await drawn(
        SessionEvent(session_id="s", turn_id="t"),
        PlanEvent(steps=[PlanStep(title="Look", status="running")]),
        PlanEvent(steps=[PlanStep(title="Look", status="done")]),
    )
    (element,) = recording.elements
    assert element["type"] == "tasklist"
    assert document(element) == {
        "status": "Done",
        "tasks": [{"title": "Look", "status": "done"}],
    }


async def test_an_error_is_a_message_that_names_the_next_step() -> None:
    error = {"code": "upstream_unavailable", "detail": "Ollama is away", "hint": "Start it."}
    shown = step(await drawn(ErrorEvent(error=error)), "error-run")
    assert shown["isError"] is True
    assert shown["output"] == "Ollama is away\n\n**Next step:** Start it."


async def test_a_cancelled_turn_keeps_what_was_said_and_says_that_it_stopped() -> None:
    recording = await drawn(
        TokenEvent(message_id="m", text="half an ans"), DoneEvent(outcome="cancelled")
    )
    assert step(recording, "m")["output"] == "half an ans"
    assert step(recording, "m")["streaming"] is False
    assert step(recording, "stopped-run")["output"] == "*Stopped.*"


async def test_the_end_of_a_turn_closes_everything_left_open_in_it() -> None:
    recording = await drawn(
        StepEvent(id="p", name="Research", status="done"),
        ToolEvent(call_id="c", name="gpu_status", status="running"),
        DoneEvent(outcome="failed"),
    )
    assert step(recording, "run")["end"] is not None
    assert step(recording, "c")["end"] is not None


async def test_a_live_part_is_drawn_once_in_a_turn_and_history_has_only_its_id() -> None:
    parts: list[Block] = [
        Live(view="agents", text="No agents.", blocks=[Markdown(text="**0** agents")])
    ]
    recording = await drawn(
        ToolEvent(call_id="c1", name="agents_list", status="done", blocks=parts),
        MessageEvent(message_id="m1", text="", blocks=parts),
    )
    assert [element["name"] for element in recording.elements] == ["AgentBoard"]
    assert recording.elements[0]["props"] == {"view": "agents", "of": ""}
    assert step(recording, "c1")["output"] == "**0** agents"
    assert step(recording, "m1")["output"] == "No agents."


async def test_a_live_part_that_the_page_does_not_know_is_shown_as_it_was_written() -> None:
    table = Table(columns=["Name"], rows=[["a"]])
    recording = await drawn(
        MessageEvent(message_id="m1", text="", blocks=[Live(view="later", blocks=[table])])
    )
    assert recording.elements == []
    assert step(recording, "m1")["output"] == to_markdown([table])
