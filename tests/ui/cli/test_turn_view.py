import io

import pytest
from rich.console import Console

from graphs.events import (
    ApprovalEvent,
    DoneEvent,
    ErrorEvent,
    JobEvent,
    MessageEvent,
    PlanEvent,
    PlanStep,
    SessionEvent,
    TokenEvent,
    ToolEvent,
)
from nebula.tool.result import Markdown, Table
from ui.cli.turn_view import TurnView


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def view(out: io.StringIO) -> TurnView:
    return TurnView(Console(file=out, markup=False, emoji=False, highlight=False, width=100))


def test_streamed_text_is_not_printed_again_when_the_message_is_complete(
    view: TurnView, out: io.StringIO
) -> None:
    view.show(TokenEvent(message_id="m", text="Good "))
    view.show(TokenEvent(message_id="m", text="morning"))
    view.show(MessageEvent(message_id="m", text="Good morning"))
    assert out.getvalue() == "Good morning\n"


def test_a_message_that_starts_again_says_so(view: TurnView, out: io.StringIO) -> None:
    view.show(TokenEvent(message_id="m", text="Hel"))
    view.show(TokenEvent(message_id="m", text="Good answer", restart=True))
    assert "again, with another model" in out.getvalue()
    assert out.getvalue().endswith("\nGood answer")


def test_a_result_is_drawn_once_though_the_message_repeats_it(
    view: TurnView, out: io.StringIO
) -> None:
    blocks = [Table(title="Cards", columns=["name"], rows=[["RTX 3060"]])]
    view.show(ToolEvent(call_id="c", name="gpu_status", status="done", blocks=blocks))
    view.show(MessageEvent(message_id="m", text="", blocks=blocks))
    assert out.getvalue().count("RTX 3060") == 1


def test_values_cannot_draw_on_the_terminal(view: TurnView, out: io.StringIO) -> None:
    nasty = "\x1b[2J[red]x[/red]\u202e"
    view.show(ToolEvent(call_id="c", name="t", status="running", arguments={"a": nasty}))
    view.show(MessageEvent(message_id="m", text="", blocks=[Markdown(text=nasty)]))
    view.show(MessageEvent(message_id="n", text="", blocks=[Table(columns=["c"], rows=[[nasty]])]))
    view.show(ErrorEvent(error={"detail": nasty}))
    assert "\x1b" not in out.getvalue()
    assert "\u202e" not in out.getvalue()
    assert "[red]x[/red]" in out.getvalue()


def test_the_view_knows_session_approvals_and_outcome(view: TurnView, out: io.StringIO) -> None:
    view.show(SessionEvent(session_id="s1", turn_id="t1"))
    view.show(PlanEvent(steps=[PlanStep(title="Look", status="done")]))
    view.show(
        ApprovalEvent(
            approval_id="apr_1",
            tool="t",
            arguments={},
            effect="destructive",
            reason="",
            expires_at="",
        )
    )
    view.show(DoneEvent(outcome="waiting"))
    assert (view.session_id, view.approvals, view.outcome) == ("s1", ["apr_1"], "waiting")
    assert "● Look" in out.getvalue()


def test_a_job_says_how_to_follow_it(view: TurnView, out: io.StringIO) -> None:
    view.show(JobEvent(job_id="job_1", tool="models_download", state="queued", message="no room"))
    assert "models_download: queued no room" in out.getvalue()
    assert "jarvis jobs follow job_1" in out.getvalue()


def moving() -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=True,
        color_system=None,
        width=80,
        _environ={"TERM": "xterm"},
    )


def test_how_far_a_call_is_moves_on_a_terminal_and_is_gone_when_it_ended() -> None:
    out = moving()
    view = TurnView(out)
    for share in (0.25, 0.5):
        message = f"\x1b[2Jlayer {share}"
        view.show(
            ToolEvent(call_id="c", name="t", status="running", progress=share, message=message)
        )
    view.show(ToolEvent(call_id="c", name="t", status="done"))
    assert isinstance(out.file, io.StringIO)
    drawn = out.file.getvalue()
    assert "50%" in drawn and "\x1b[2J" not in drawn
    assert drawn.rstrip().endswith("● t")
    last = drawn.rindex("layer 0.5")
    assert "\x1b[2K" in drawn[last:], "the line is taken away again"


def test_how_far_a_call_is_takes_a_line_per_change_elsewhere(
    view: TurnView, out: io.StringIO
) -> None:
    for share in (0.25, 0.25, 0.5):
        view.show(
            ToolEvent(
                call_id="c", name="t", status="running", progress=share, message=f"at {share}"
            )
        )
    assert out.getvalue().split("\n")[:2] == ["  ◐ 25% at 0.25", "  ◐ 50% at 0.5"]
    assert view.jobs == []
