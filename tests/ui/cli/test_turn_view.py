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
