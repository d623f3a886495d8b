"""S5: secrets that tools give away in every encoding, and the places where they come out.

Tools get secrets by reference (and know one unasked, as if read in a file) and put them, in 23
encodings with text around them, into results, errors, bugs, logs, progress, events and calls of
other tools: over the executor, REST, chat with a model that repeats what it reads, MCP, and as
jobs. Then every text that came out, and every column and file at rest except the sealed ones, is
searched. Counted are encodings of secrets found per sink. The peers are the same program that
hides nothing, and one that hides values as they are, as CI systems do in their logs.

The second table is what hiding costs: microseconds for a text of 10 KB, and the time to take in
what is new.
"""

import secrets
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.table import show
from nebula.db.embedded import EmbeddedPostgres
from nebula.db.migrate import upgrade
from nebula.log import configure_logging
from nebula.secrets import redact
from nebula.secrets.redact import LIVE, Redactor
from nebula.secrets.vault import USED
from nebula.settings import Settings
from tests.canary import ENCODINGS
from tests.fakes.wire import Wire
from tests.leaks import world

NOTHING: frozenset[str] = frozenset()
MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "ours": nullcontext,
    "values as they are": lambda: patch.object(redact, "forms", lambda value: {value}),
    "nothing hidden": lambda: patch.object(redact, "forms", lambda value: NOTHING),
}
TEXT = 10_240
ROUNDS = 300


def leaks(mode: str) -> world.Sinks:
    """Play the whole scenario in one way of hiding, over a database of its own."""
    conf = {"fsync": "off", "synchronous_commit": "off"}
    LIVE.forget(USED)
    configure_logging(level="CRITICAL")  # the scenario sets up its own
    with (
        tempfile.TemporaryDirectory(prefix="nebula-bench-") as folder,
        EmbeddedPostgres(Path(folder) / "db", conf) as server,
        MODES[mode](),
    ):
        upgrade(server.url)
        home = Path(folder) / "home"
        home.mkdir()
        settings = Settings(
            _env_file=None,
            home=home,
            database_url=server.url,
            ollama_host="http://ollama.test",
            openai_base_url="http://openai.test/v1",
            service_map=home / "service-map.yml",
            warm_start=False,
            workers=0,
        )
        return world.run(settings, Wire())


def cost() -> str:
    """Measure hiding in one text, and taking in one more value."""
    rows = []
    for count in (1, 10, 100, 1000):
        redactor = Redactor()
        redactor.know("bench", (secrets.token_urlsafe(32) for _ in range(count)))
        started = time.perf_counter()
        redactor.text("")
        built = time.perf_counter() - started
        text = secrets.token_urlsafe(TEXT)[:TEXT]
        started = time.perf_counter()
        for _ in range(ROUNDS):
            redactor.text(text)
        each = (time.perf_counter() - started) / ROUNDS
        rows.append([f"{count} secrets", f"{each * 1e6:.0f}", f"{built * 1e3:.1f}"])
    return show(["", "µs for 10 KB", "ms to take in"], rows)


def main() -> None:
    """Print both tables."""
    configure_logging(level="CRITICAL")
    found: dict[str, dict[str, int]] = {}
    searched: dict[str, int] = {}
    for mode in MODES:
        sinks = leaks(mode)
        found[mode] = {s: sum(map(len, held.values())) for s, held in sinks.leaks().items()}
        searched = searched or world.sizes(sinks)
    rows = [
        [sink, f"{searched[sink] / 1000:.0f}", *(str(found[mode].get(sink, 0)) for mode in MODES)]
        for sink in sorted(searched)
    ]
    total = [str(sum(found[mode].values())) for mode in MODES]
    rows.append(["all", f"{sum(searched.values()) / 1000:.0f}", *total])
    print(show(["sink", "KB searched", *MODES], rows))
    print(f"{len(world.CANARIES)} secrets x {len(ENCODINGS)} encodings; goal: 0\n")
    print(cost())


if __name__ == "__main__":
    main()
