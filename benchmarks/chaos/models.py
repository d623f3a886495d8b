"""The servers of models of the chaos run: what they hold, where, and what the service map says."""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.chaos import model_server
from nebula.packages import checkout
from nebula.services.sizes import GIB

OWN = "own"
"""The model that Jarvis thinks with; the server on the first machine has it."""
SIZES = {OWN: 4.4, "small": 1.4, "middle": 2.4, "large": 5.4}
"""What each model takes, in GB."""
BUDGETS = {name: size + 0.1 for name, size in SIZES.items()}
IDLE_MINUTES = 0.25


@dataclass(frozen=True)
class Holder:
    """A server of models on one card, which its machine's agent looks after."""

    node: str
    gpu: int
    port: int

    @property
    def service(self) -> str:
        """Return its name in the map."""
        return f"{self.node}-models"

    @property
    def card(self) -> str:
        """Return its card's id."""
        return f"{self.node}/{self.gpu}"

    def entry(self, out: Path, bind: str) -> dict[str, Any]:
        """Return what the agent's owner writes to have it run."""
        spec = {
            "service": self.service, "card": f"{self.node}-{self.gpu}", "port": self.port,
            "bind": bind, "out": str(out),
            "models": {name: int(size * GIB) for name, size in SIZES.items()},
        }  # fmt: skip
        return {
            "argv": [sys.executable, model_server.__file__, json.dumps(spec)],
            "kind": "ollama",
            "port": self.port,
            "gpu": self.gpu,
            "env": {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(checkout())},
        }


def map_of(holders: Iterable[Holder]) -> dict[str, Any]:
    """Return the servers' part of the service map."""
    models = [
        {"name": name, "vram": f"{size:g} GB", "load_seconds": 1} for name, size in BUDGETS.items()
    ]
    services = [
        {
            "name": h.service, "kind": "ollama", "node": h.node, "port": h.port, "gpu": h.gpu,
            "vram": "6 GB", "idle_minutes": IDLE_MINUTES, "models": models,
        }
        for h in holders
    ]  # fmt: skip
    return {"version": 1, "services": services}
