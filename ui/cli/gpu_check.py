"""Checks this machine's NVIDIA cards, and shows what was expected and what was seen."""

from nebula.errors import InvalidInput
from nebula.gpu.check.report import CardFindings, CheckReport, Finding
from nebula.gpu.check.run import check
from nebula.services.sizes import parse_size
from nebula.tool.result import Block, Markdown, Table
from ui.cli.operator import run as run_async
from ui.cli.records import write_json
from ui.cli.show import console, show_blocks

_MARKS = {"right": "✓", "wrong": "✗", "hidden": "–"}


def run(card: int | None, size: str, *, as_json: bool) -> bool:
    """Check, show it, and say whether nothing is wrong."""
    amount = _size(size)
    if not as_json:
        console(error=True).print(
            "Checking the cards; this takes about half a minute…", style="dim"
        )
    report = run_async(lambda: check(only=card, size=amount))
    if as_json:
        write_json(report)
    else:
        show_blocks(blocks(report), console())
    return not report.wrong


def _size(text: str) -> int | None:
    """Read "1GB" as bytes.

    Raises:
        InvalidInput: when that is no size.
    """
    if not text:
        return None
    try:
        return parse_size(text)
    except ValueError as error:
        raise InvalidInput(str(error), hint="Write it like this: --size 1GB") from error


def blocks(report: CheckReport) -> list[Block]:
    """Return a table for each card, and what it all means."""
    parts: list[Block] = [_table(card, report) for card in report.cards]
    notes = [_note(f) for card in report.cards for f in card.findings if f.note]
    parts += (
        [Markdown(text="\n".join(f"- {note}" for note in dict.fromkeys(notes)))] if notes else []
    )
    return [*parts, Markdown(text=_verdict(report))]


def _table(card: CardFindings, report: CheckReport) -> Table:
    return Table(
        title=f"Card {card.index}: {card.name}, driver {report.driver or 'unknown'}, "
        f"CUDA {report.cuda or 'unknown'}",
        columns=["", "looked at", "expected", "seen", "ms"],
        rows=[
            [_MARKS[f.state], f.what, f.expected, f.seen, _milliseconds(f)] for f in card.findings
        ],
    )


def _milliseconds(finding: Finding) -> str:
    return "" if finding.milliseconds is None else f"{finding.milliseconds:.0f}"


def _note(finding: Finding) -> str:
    return f"{_MARKS[finding.state]} {finding.what}: {finding.note}"


def _verdict(report: CheckReport) -> str:
    count = sum(len(card.findings) for card in report.cards)
    if report.wrong:
        said = f"**{report.wrong} of {count} are wrong.** `jarvis gpu check --json` has the figures"
        return f"{said}; the manual's page on the GPU says what to do."
    unseen = f"; {report.hidden} cannot be seen here" if report.hidden else ""
    return f"Everything that can be seen is right: {count - report.hidden} of {count}{unseen}. " + (
        f"It took {report.seconds:.0f} s."
    )
