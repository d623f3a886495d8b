"""Draws runs: the memory that work uses on every card over time, one column for each run."""

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from nebula.gpu.simulate.history import History, Stretch
from nebula.services.sizes import GIB

_COLOURS = {"chat": "#4c78a8", "image": "#f58518", "batch": "#54a24b", "training": "#b279a2"}


def figure(runs: Mapping[str, History]) -> Any:
    """Return a Plotly figure: gigabytes in use by class and card, over minutes."""
    from plotly.graph_objects import Scatter
    from plotly.subplots import make_subplots

    cards = list(dict.fromkeys(c.id for h in runs.values() for c in h.trace.cards))
    drawn = make_subplots(
        rows=len(cards),
        cols=len(runs),
        shared_xaxes=True,
        column_titles=list(runs),
        row_titles=cards,
        vertical_spacing=0.06,
    )
    for column, history in enumerate(runs.values(), start=1):
        for row, card in enumerate(cards, start=1):
            for klass, colour in _COLOURS.items():
                first = row == column == 1
                minutes, gigabytes = _steps(history.stretches, card, klass)
                line = Scatter(
                    x=minutes, y=gigabytes, name=klass, legendgroup=klass, showlegend=first,
                    stackgroup="use", line={"shape": "hv", "width": 0, "color": colour},
                )  # fmt: skip
                drawn.add_trace(line, row=row, col=column)
    drawn.update_yaxes(title_text="GB")
    for column in range(1, len(runs) + 1):
        drawn.update_xaxes(title_text="minutes", row=len(cards), col=column)
    drawn.update_layout(title="Memory that work uses", height=160 + 200 * len(cards))
    return drawn


def _steps(stretches: list[Stretch], card: str, klass: str) -> tuple[list[float], list[float]]:
    """Return when the memory in use changes, and what it is from then on."""
    changes: dict[float, int] = {0.0: 0}
    for s in stretches:
        if s.card == card and s.klass == klass:
            changes[s.start] = changes.get(s.start, 0) + s.vram
            changes[s.end] = changes.get(s.end, 0) - s.vram
    times = sorted(changes)
    levels = accumulate(changes[t] for t in times)
    return [round(t / 60, 3) for t in times], [round(level / GIB, 2) for level in levels]
