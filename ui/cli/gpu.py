"""`jarvis gpu`: check the cards, record what they did, try out what another one would bring."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="The graphics cards: check them, and try out how work is placed.", no_args_is_help=True
)


class Kind(StrEnum):
    """The kinds of traces that a seed can make."""

    HOME = "home"
    BATCH = "batch"
    ONLINE = "online"


@app.callback()
def _gpu() -> None:
    """The graphics cards: check them, and try out how work is placed."""


@app.command()
def check(
    card: Annotated[
        int | None, typer.Option(min=0, max=63, help="Only this card, by nvidia-smi's number")
    ] = None,
    size: Annotated[
        str, typer.Option(help="How much memory to hold, like 1GB; 2 GB, or what is free")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output")] = False,
) -> None:
    """Hold memory of this machine's NVIDIA cards for a while, and see that all figures follow."""
    from ui.cli.gpu_check import run

    raise typer.Exit(0 if run(card, size, as_json=as_json) else 1)


@app.command()
def simulate(  # noqa: PLR0917 - typer's way to declare options
    trace: Annotated[
        Path | None, typer.Argument(help="A trace file; left out, one is made")
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Which trace to make; the same seed, the same jobs")
    ] = 1,
    kind: Annotated[Kind, typer.Option(help="What kind of trace to make")] = Kind.HOME,
    jobs: Annotated[int, typer.Option(min=1, max=5000, help="How many jobs it has")] = 200,
    cards: Annotated[
        str, typer.Option(help="The cards, like 12GB,24GB; left out, the trace's or one of 12 GB")
    ] = "",
    also: Annotated[str, typer.Option(help="Compare with these cards added, like 24GB")] = "",
    plot: Annotated[Path | None, typer.Option(help="Write a plot to this HTML file")] = None,
    save: Annotated[Path | None, typer.Option(help="Write the trace to this file")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output")] = False,
) -> None:
    """Play a trace in virtual time under this scheduler and under simpler ones."""
    from ui.cli.simulate import Wish, run

    run(
        Wish(
            trace=trace,
            seed=seed,
            kind=kind.value,
            jobs=jobs,
            cards=cards,
            also=also,
            plot=plot,
            save=save,
            as_json=as_json,
        )
    )


@app.command()
def record(
    file: Annotated[Path, typer.Argument(help="Where to write the trace; it must not exist yet")],
    days: Annotated[float, typer.Option(min=0.01, max=366, help="How far back to look")] = 7.0,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output")] = False,
) -> None:
    """Write the GPU work of the last days as a trace, to be played with `jarvis gpu simulate`."""
    from ui.cli import recording

    recording.record(file, days=days, as_json=as_json)
