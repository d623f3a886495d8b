"""Runs and shows a simulation of the GPU scheduler."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nebula.errors import InvalidInput
from nebula.gpu.policy.decide import decide
from nebula.gpu.simulate import generate, plot, trace
from nebula.gpu.simulate.peers import PEERS
from nebula.gpu.simulate.report import RunReport, report
from nebula.gpu.simulate.trace import Trace, TraceCard
from nebula.gpu.simulate.world import World
from nebula.markup.text import json_line
from nebula.services.sizes import GIB, parse_size, spoken
from nebula.tool.result import Block, Markdown, Table
from ui.cli.show import console, show_blocks

OURS = "Nebula Command"
_MAKERS = {"home": generate.home, "batch": generate.batch, "online": generate.online}
_BAR = 20


@dataclass(frozen=True)
class Wish:
    """What was asked for on the command line."""

    trace: Path | None
    seed: int
    kind: str
    jobs: int
    cards: str
    also: str
    plot: Path | None
    save: Path | None
    as_json: bool


def run(wish: Wish) -> None:
    """Simulate, then show the tables or JSON; write the trace and the plot if wanted."""
    work = _trace(wish)
    if wish.save is not None:
        trace.write(work, wish.save)
    variants = [work]
    if wish.also:
        more = generate.cards(*_sizes(wish.also))
        named = [c.model_copy(update={"id": f"added-{c.id}"}) for c in more]
        variants.append(work.on([*work.cards, *named]))
    histories = [World(variant).run(decide) for variant in variants]
    reports = [report(OURS, history) for history in histories]
    peers = [report(name, World(work).run(of(work))) for name, of in PEERS.items()]
    if wish.plot is not None:
        runs = dict(zip(map(_cards_of, variants), histories, strict=True))
        plot.figure(runs).write_html(wish.plot, include_plotlyjs=True)
    if wish.as_json:
        _json(work, reports, peers)
    else:
        _show(wish, variants, reports, peers)


def _trace(wish: Wish) -> Trace:
    """Read the trace, or make one; jobs that fit none of the cards are left out by the maker."""
    sizes = _sizes(wish.cards)
    if wish.trace is None:
        return _MAKERS[wish.kind](wish.seed, sizes or [12.0], wish.jobs)
    found = trace.read(wish.trace)
    return found.on(generate.cards(*sizes)) if sizes else found


def _sizes(text: str) -> list[float]:
    """Read "12GB,24GB" as gigabytes."""
    try:
        return [parse_size(part) / GIB for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise InvalidInput(str(error), hint="Write cards like this: --cards 12GB,24GB") from error


def _json(work: Trace, ours: Sequence[RunReport], peers: Sequence[RunReport]) -> None:
    found = {
        "trace": work.name,
        "cards": [c.model_dump() for c in work.cards],
        "runs": [r.model_dump() for r in ours[:1]],
        "with_added_cards": ours[1].model_dump() if len(ours) > 1 else None,
        "peers": [r.model_dump() for r in peers],
    }
    print(json_line(found))


def _show(
    wish: Wish,
    variants: Sequence[Trace],
    ours: Sequence[RunReport],
    peers: Sequence[RunReport],
) -> None:
    work = variants[0]
    origin = "made up" if work.simulated else "recorded"
    about = f"{len(work.jobs)} jobs ({origin}: {work.name}) on {_cards_of(work)}, in virtual time."
    blocks: list[Block] = [Markdown(text=about), _policies([ours[0], *peers]), _waits(ours[0])]
    blocks.append(_in_use(variants[0].cards, ours[0]))
    if len(ours) > 1:
        blocks += [_compared(variants, ours), _in_use(variants[1].cards, ours[1])]
    problems = list(dict.fromkeys(v for r in ours for v in r.violations))
    blocks += [Markdown(text=f"Note: {problem}.") for problem in problems]
    if wish.plot is not None:
        blocks.append(Markdown(text=f"The plot is in {wish.plot}."))
    show_blocks(blocks, console())


def _policies(reports: Sequence[RunReport]) -> Table:
    rows = [
        (
            r.policy,
            _time(r.makespan),
            f"{r.ratio:.2f}",
            str(r.loads),
            _time(r.longest_wait),
            f"{r.utilization:.0%}",
            "never" if not any("over-committed" in v for v in r.violations) else "yes",
        )
        for r in reports
    ]
    columns = ("scheduler", "done in", "÷ bound", "loads", "max wait", "in use", "over-commits")
    return Table(title="Schedulers", columns=columns, rows=tuple(rows))


def _waits(found: RunReport) -> Table:
    rows = [
        (w.klass, str(w.jobs), _time(w.p50), _time(w.p95), _time(w.longest)) for w in found.waits
    ]
    columns = ("class", "jobs", "half wait less", "95 % wait less", "longest")
    return Table(title=f"Waits under {OURS}", columns=columns, rows=tuple(rows))


def _in_use(cards: Sequence[TraceCard], found: RunReport) -> Table:
    rows = []
    for card in cards:
        share = found.by_card[card.id]
        bar = "█" * round(share * _BAR)
        rows.append((card.id, spoken(card.capacity), f"{bar:·<{_BAR}} {share:.0%}"))
    return Table(title="Memory in use by work", columns=("card", "usable", "use"), rows=tuple(rows))


def _compared(variants: Sequence[Trace], ours: Sequence[RunReport]) -> Table:
    before, after = ours
    rows = [
        ("done in", _time(before.makespan), _time(after.makespan)),
        ("longest wait", _time(before.longest_wait), _time(after.longest_wait)),
        ("loads", str(before.loads), str(after.loads)),
        ("in use", f"{before.utilization:.0%}", f"{after.utilization:.0%}"),
    ]
    later = {w.klass: w for w in after.waits}
    for w in before.waits:
        if w.klass in later:
            name = f"{w.klass}: 95 % wait less"
            rows.append((name, _time(w.p95), _time(later[w.klass].p95)))
    columns = ("", _cards_of(variants[0]), _cards_of(variants[1]))
    return Table(title="What the added cards bring", columns=columns, rows=tuple(rows))


def _cards_of(work: Trace) -> str:
    """Name the cards by what of them may be used: a little stays free on each."""
    return " + ".join(spoken(c.capacity) for c in work.cards) + " usable"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
