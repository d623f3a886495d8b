"""Somebody with every right over the log, who changes it in every way there is."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from nebula.tool.audit.chain import FIRST, Line, digest_of


@dataclass(frozen=True)
class Forged:
    """A log as the forger leaves it, its head, and the lines where it shows."""

    lines: list[Line]
    head: tuple[int, bytes] | None
    where: range


Forge = Callable[[list[Line], random.Random], Forged]


def chained(payloads: list[str]) -> list[Line]:
    """Make an honest log."""
    lines, previous = [], FIRST
    for seq, payload in enumerate(payloads, start=1):
        digest = digest_of(previous, seq, payload)
        lines.append(Line(seq, payload, previous, digest))
        previous = digest
    return lines


def head_of(lines: list[Line]) -> tuple[int, bytes]:
    """Return the head that fits a log."""
    return (lines[-1].seq, lines[-1].hash) if lines else (0, FIRST)


def _told_otherwise(payload: str) -> str:
    return payload.replace("ada", "bob", 1)


def _at(lines: list[Line], draw: random.Random) -> int:
    return draw.randrange(len(lines))


def edit(lines: list[Line], draw: random.Random) -> Forged:
    at = _at(lines, draw)
    changed = replace(lines[at], payload=_told_otherwise(lines[at].payload))
    return Forged([*lines[:at], changed, *lines[at + 1 :]], head_of(lines), range(at + 1, at + 2))


def edit_and_hash_again(lines: list[Line], draw: random.Random) -> Forged:
    at = _at(lines, draw)
    old = lines[at]
    payload = _told_otherwise(old.payload)
    changed = Line(old.seq, payload, old.prev_hash, digest_of(old.prev_hash, old.seq, payload))
    return Forged([*lines[:at], changed, *lines[at + 1 :]], head_of(lines), range(at + 1, at + 3))


def edit_and_chain_again(lines: list[Line], draw: random.Random) -> Forged:
    at = _at(lines, draw)
    payloads = [line.payload for line in lines]
    payloads[at] = _told_otherwise(payloads[at])
    forged = chained(payloads)
    return Forged(forged, head_of(forged), range(1, len(lines) + 1))


def delete(lines: list[Line], draw: random.Random) -> Forged:
    at = _at(lines, draw)
    return Forged([*lines[:at], *lines[at + 1 :]], head_of(lines), range(at + 1, at + 2))


def delete_and_close_the_gap(lines: list[Line], draw: random.Random) -> Forged:
    at = _at(lines, draw)
    forged = chained([line.payload for line in [*lines[:at], *lines[at + 1 :]]])
    return Forged(forged, head_of(forged), range(1, len(lines) + 1))


def delete_the_first(lines: list[Line], _: random.Random) -> Forged:
    return Forged(lines[1:], head_of(lines), range(1, 2))


def cut_the_end(lines: list[Line], draw: random.Random) -> Forged:
    at = _at(lines, draw)
    return Forged(lines[:at], head_of(lines), range(at + 1, at + 2))


def cut_the_end_and_its_head(lines: list[Line], draw: random.Random) -> Forged:
    at = _at(lines, draw)
    return Forged(lines[:at], head_of(lines[:at]), range(at + 1, at + 2))


def swap_two(lines: list[Line], draw: random.Random) -> Forged:
    one, two = sorted(draw.sample(range(len(lines)), 2))
    forged = list(lines)
    forged[one] = replace(lines[two], seq=one + 1)
    forged[two] = replace(lines[one], seq=two + 1)
    return Forged(forged, head_of(lines), range(one + 1, one + 2))


def swap_two_and_chain_again(lines: list[Line], draw: random.Random) -> Forged:
    one, two = draw.sample(range(len(lines)), 2)
    payloads = [line.payload for line in lines]
    payloads[one], payloads[two] = payloads[two], payloads[one]
    forged = chained(payloads)
    return Forged(forged, head_of(forged), range(1, len(lines) + 1))


def put_one_in(lines: list[Line], draw: random.Random) -> Forged:
    at = _at(lines, draw)
    payloads = [line.payload for line in lines]
    forged = chained([*payloads[:at], _told_otherwise(payloads[at]), *payloads[at:]])
    return Forged(forged, head_of(forged), range(1, len(lines) + 1))


def repeat_one(lines: list[Line], draw: random.Random) -> Forged:
    at = _at(lines, draw)
    forged = [*lines[: at + 1], lines[at], *lines[at + 1 :]]
    return Forged(forged, head_of(lines), range(at + 1, at + 2))


def add_one_behind_the_head(lines: list[Line], _: random.Random) -> Forged:
    forged = chained([*(line.payload for line in lines), _told_otherwise(lines[-1].payload)])
    return Forged(forged, head_of(lines), range(len(forged), len(forged) + 1))


def move_the_head(lines: list[Line], draw: random.Random) -> Forged:
    head = (len(lines), draw.randbytes(32))
    return Forged(lines, head, range(len(lines), len(lines) + 1))


def remove_everything(lines: list[Line], _: random.Random) -> Forged:
    return Forged([], (0, FIRST), range(1, 2))


FORGERIES: list[Forge] = [
    edit,
    edit_and_hash_again,
    edit_and_chain_again,
    delete,
    delete_and_close_the_gap,
    delete_the_first,
    cut_the_end,
    cut_the_end_and_its_head,
    swap_two,
    swap_two_and_chain_again,
    put_one_in,
    repeat_one,
    add_one_behind_the_head,
    move_the_head,
    remove_everything,
]
