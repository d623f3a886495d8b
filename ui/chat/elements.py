"""Blocks of results as Chainlit's elements; their data travels inside them, so history has it."""

import json
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from graphs.events import PlanStep
from nebula.markup.address import may_show
from nebula.markup.figure import local_figure
from nebula.markup.neutral import neutral
from nebula.markup.text import visible, visible_in
from nebula.tool.diagram import Diagram
from nebula.tool.render import escape, to_markdown
from nebula.tool.result import Block, Choices, Image, JobProgress, Live, Markdown, Plot, Table
from ui.chat.screen import Element

_FONT = "-apple-system, 'Segoe UI', Inter, Roboto, 'Noto Sans', 'Liberation Sans', sans-serif"
LIVE = {
    "agents": "AgentBoard",
    "agent": "AgentBoard",
    "agent-form": "AgentForm",
    "agent-runs": "AgentRuns",
    "workflows": "WorkflowBoard",
    "workflow": "WorkflowDiagram",
    "workflow-editor": "WorkflowEditor",
    "board": "AgentTask",
}
"""The elements of `public/elements` that show a `Live` block, by its view."""
OWN_CARD = {"agents_orchestrate": "board"}
"""Tools whose jobs are shown by a part of the page of their own, and by which."""
_TASK_STATUS = {
    "pending": "ready",
    "running": "running",
    "done": "done",
    "failed": "failed",
    "waiting": "ready",
}


def text_of(blocks: Iterable[Block]) -> str:
    """Return the Markdown paragraphs among the blocks, and a word about a job: it has a card."""
    return "\n\n".join(filter(None, map(_said, blocks)))


def _said(block: Block) -> str:
    match block:
        case Markdown():
            return block.text
        case JobProgress():
            going_on = "It goes on in the background; the card above follows it."
            return escape(block.message) or going_on
        case Live():
            return block.text if block.view in LIVE else to_markdown(block.blocks)
        case Image(url=url, alt=alt) if not may_show(url):
            return f"(image not loaded: {escape(alt)} {escape(url)})"
        case _:
            return ""


def elements_of(blocks: Sequence[Block], for_id: str) -> list[Element]:
    """Return the elements that show the blocks under a message."""
    made = []
    for number, block in enumerate(blocks):
        element = _element(block, f"{for_id}-{number}")
        if element is not None:
            made.append({**element, "forId": for_id})
    return made


def _element(block: Block, element_id: str) -> Element | None:
    match block:
        case Table():
            shown = visible_in(block.model_dump(exclude={"kind"}))
            return custom("ResultTable", element_id, shown)
        case Choices():
            # What is said when one is picked stays exact.
            options = [(visible(label), says) for label, says in block.options]
            props: dict[str, object] = {"question": visible(block.question), "options": options}
            return custom("Choices", element_id, props)
        case Diagram():
            shown = visible_in(block.model_dump(exclude={"kind"}))
            return custom("WorkflowDiagram", element_id, shown)
        case Plot():
            name = visible(block.title) or "plot"
            return _shell("plotly", element_id, name, _data_url(_themed(block)))
        case Image(url=url, alt=alt) if may_show(url):
            return {**_shell("image", element_id, visible(alt), url), "size": "medium"}
        case _:
            return None


def custom(name: str, element_id: str, props: dict[str, object]) -> Element:
    """Return one of our own elements: `public/elements/<name>.jsx` with these properties."""
    return {**_shell("custom", element_id, name, None), "props": props, "mime": "application/json"}


def live(block: Live, element_id: str) -> Element:
    """Return the element that keeps itself up to date, of which history has only the id."""
    return custom(LIVE[block.view], element_id, {"view": block.view, "of": block.of})


def job_card(job: JobProgress, element_id: str) -> Element:
    """Return the card that follows a job, or the part of the page that shows more of it."""
    if job.tool in OWN_CARD:
        return live(Live(view=OWN_CARD[job.tool], of=job.job_id, blocks=[]), element_id)
    return custom("JobCard", element_id, job.model_dump(exclude={"kind"}))


def plan(steps: Sequence[PlanStep], turn_id: str) -> Element:
    """Return the task list that shows a plan."""
    running = any(step.status in {"running", "pending"} for step in steps)
    waiting = any(step.status == "waiting" for step in steps)
    status = "Waiting for you" if waiting else "Working" if running else "Done"
    tasks = [{"title": _task_title(s), "status": _TASK_STATUS[s.status]} for s in steps]
    url = _data_url({"status": status, "tasks": tasks})
    return _shell("tasklist", f"plan-{turn_id}", "plan", url)


def _task_title(step: PlanStep) -> str:
    # The list draws its titles as Markdown.
    title = neutral(escape(step.title), directives=True)
    return f"{title} (needs approval)" if step.status == "waiting" else title


def _shell(kind: str, element_id: str, name: str, url: str | None) -> Element:
    return {"id": element_id, "type": kind, "name": name, "display": "inline", "url": url}


def _data_url(document: object) -> str:
    return "data:application/json," + quote(json.dumps(document, separators=(",", ":")))


def _themed(block: Plot) -> dict[str, object]:
    """Dress a figure so that it sits well on the dark and on the light page."""
    figure = local_figure(block.figure)
    ink, line = "#8a94a8", "rgba(138,148,168,.22)"
    axis = {"gridcolor": line, "zerolinecolor": line, "linecolor": line, "automargin": True}
    layout = dict(figure.get("layout") or {})
    layout.pop("template", None)
    layout.pop("width", None)
    dressed = {
        "bargap": 0.35,
        "height": 300,
        **layout,
        "autosize": True,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": _FONT, "size": 13, "color": ink},
        "colorway": ["#2fb89c", "#7f93f5", "#e0a33c", "#b07fe0", "#e56b77"],
        "margin": {"l": 8, "r": 16, "t": 44, "b": 72, "pad": 6},
        # Below, counted from the bottom edge: on a phone it takes two lines and meets no title.
        "legend": {"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"},
    }
    for name in ("xaxis", "yaxis"):
        dressed[name] = {**axis, **(layout.get(name) or {})}
    if block.title:
        dressed["title"] = {
            "text": visible(block.title),
            "font": {"size": 15},
            "x": 0.01,
            "y": 0.96,
        }
    config = {"displayModeBar": False, "responsive": True}
    return {"data": figure.get("data", []), "layout": dressed, "config": config}
