"""The one progress bar of the terminal."""

from typing import TYPE_CHECKING

from rich.text import Text

from nebula.markup.text import visible
from ui.cli.show import console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


def progress_bar(to: "Console | None" = None) -> "Progress":
    """Return a bar that vanishes when it stops; on stderr unless told otherwise."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    text = TextColumn("{task.description}", markup=False)
    return Progress(
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        text,
        console=to or console(error=True),
        auto_refresh=True,
        transient=True,
    )


def moves(on: "Console") -> bool:
    """Say whether something can be drawn over on this console."""
    return on.is_terminal and not on.is_dumb_terminal


class ProgressLine:
    """How far a call is: one line that moves on a terminal, a line per change elsewhere."""

    def __init__(self, out: "Console") -> None:
        """Take where to draw."""
        self._out = out
        self._bar: Progress | None = None
        self._last = ""

    def show(self, message: str, fraction: float | None) -> None:
        """Draw the newest word; a fraction is 0..1, or None when nobody knows."""
        said = visible(message)
        if moves(self._out):
            if self._bar is None:
                self._bar = progress_bar(self._out)
                self._bar.add_task(said, total=1.0)
                self._bar.start()
            self._bar.update(self._bar.task_ids[0], description=said, completed=fraction)
        elif said != self._last:
            share = "" if fraction is None else f"{fraction:.0%} "
            self._out.print(Text(f"  ◐ {share}{said}", style="dim"))
        self._last = said

    def clear(self) -> None:
        """Take the line away, before anything else is drawn."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        self._last = ""
