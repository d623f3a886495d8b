"""Stands where `import pynvml` finds it in another process: cards from a JSON file, read each time."""

import json
import os
from pathlib import Path

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
    return getattr(FakeNvml([FakeCard(**card) for card in cards]), name)
