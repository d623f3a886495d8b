"""Stands where `import pynvml` finds it in another process: cards from a JSON file, read each time.

A card may name a folder under `held`: there is a file for each process that holds memory of it,
called by its number, with the bytes in it. What a process held is free when the process is gone.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.fakes.nvml import (  # noqa: F401 - what the real module holds too
    FakeCard,
    FakeNvml,
    NVMLError,
    NVMLError_DriverNotLoaded,
    NVMLError_LibraryNotFound,
)


def __getattr__(name: str) -> object:
    if not name.startswith(("nvml", "NVML")):
        raise AttributeError(name)
    cards = json.loads(Path(os.environ["FAKE_NVML_CARDS"]).read_text())
    return getattr(FakeNvml([_card(**card) for card in cards]), name)


def _card(held: str | None = None, used: int = 0, **more: Any) -> FakeCard:
    processes = {} if held is None else dict(_holders(Path(held)))
    return FakeCard(used=used + sum(processes.values()), processes=processes, **more)


def _holders(folder: Path) -> Iterator[tuple[int, int]]:
    for file in folder.glob("[0-9]*"):
        if file.name.isdigit() and _lives(int(file.name)):
            yield int(file.name), int(file.read_text())


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
