"""Writes what the cards did as a trace for the simulator."""

from pathlib import Path

from pydantic import BaseModel

from nebula.errors import InvalidInput, NotFound
from nebula.gpu.simulate import trace
from ui.cli.operator import run, seated
from ui.cli.records import write_json
from ui.cli.show import console


class Written(BaseModel):
    """What a recording holds."""

    file: str
    jobs: int
    cards: int


def record(file: Path, *, days: float, as_json: bool) -> None:
    """Write the work of the last days to a new file, and say how to play it.

    Raises:
        InvalidInput: when the file exists, or its folder does not.
        NotFound: when no work with a known size has ended in that time.
    """
    if file.exists() or not file.parent.is_dir():
        raise InvalidInput(
            f"{file} exists already, or its folder does not", hint="Name a new file."
        )
    work = run(lambda: _recorded(file.stem, days))
    if not work.jobs:
        raise NotFound(
            f"No GPU work has ended in the last {days:g} days",
            hint="Work is recorded while Jarvis runs; `jarvis gpu simulate` plays made-up work.",
        )
    trace.write(work, file)
    if as_json:
        write_json(Written(file=str(file), jobs=len(work.jobs), cards=len(work.cards)))
        return
    counted = f"{_count(len(work.jobs), 'job')} on {_count(len(work.cards), 'card')}"
    said = f"Wrote {counted} to {file}."
    console().print(f"{said} Play it: jarvis gpu simulate {file} --also 24GB", markup=False)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


async def _recorded(name: str, days: float) -> trace.Trace:
    async with seated() as seat:
        return await seat.app.parts.leases.history.trace(name, days=days)
