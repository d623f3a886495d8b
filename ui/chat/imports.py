"""Imports Chainlit without the tracing of a cloud service that it brings along and we never use.

That tracing (literalai's, by way of traceloop and OpenTelemetry) took a sixth of the server's start.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_UNUSED = "traceloop.sdk"


@contextmanager
def without_tracing() -> Iterator[None]:
    """Let the block import what would import the tracing; others may import it afterwards."""
    if _UNUSED in sys.modules:
        yield
        return
    empty = ModuleType(_UNUSED)
    # Only a client of Literal AI would use it, and `ui.chat.history` is the data layer instead.
    empty.Traceloop = None  # type: ignore[attr-defined]
    sys.modules[_UNUSED] = empty
    try:
        yield
    finally:
        del sys.modules[_UNUSED]
