"""Reads an agent's journal afterwards and names what must never have happened."""

from collections.abc import Iterable
from typing import Any


def violations(lines: Iterable[dict[str, Any]], capacity: dict[int, int]) -> list[str]:
    """Check ends, sums and tokens; `capacity` is what each card has, in bytes.

    Every accepted task ends at most once and never before it was accepted; what runs on a card
    at one time fits it; a token lower than one seen before is taken only beside a newer one.
    """
    found: list[str] = []
    running: dict[str, dict[str, Any]] = {}
    done: set[str] = set()
    highest: dict[int, int] = {}
    for line in lines:
        task = str(line.get("task"))
        if line["event"] == "accepted":
            if task in running or task in done:
                found.append(f"{task} was accepted twice")
            running[task] = line
            found += _card(line, running, highest, capacity)
        elif line["event"] == "ended":
            if task not in running:
                found.append(f"{task} ended {'twice' if task in done else 'without a beginning'}")
            running.pop(task, None)
            done.add(task)
    return found


def _card(
    line: dict[str, Any],
    running: dict[str, dict[str, Any]],
    highest: dict[int, int],
    capacity: dict[int, int],
) -> list[str]:
    gpu, token = line.get("gpu"), line.get("token")
    if gpu is None or token is None:
        return []
    found: list[str] = []
    beside = [other for other in running.values() if other.get("gpu") == gpu]
    if (held := sum(other.get("vram") or 0 for other in beside)) > capacity.get(gpu, 0):
        found.append(f"card {gpu} held {held} bytes at {line['at']}")
    if token < highest.get(gpu, token) and not any(o["token"] > token for o in beside):
        found.append(f"card {gpu} took the token {token} after {highest[gpu]}")
    highest[gpu] = max(token, highest.get(gpu, token))
    return found
