"""One clock for deadlines that every process of this machine shares and no sleep of it stops."""

import time

# CLOCK_MONOTONIC stands still while a laptop sleeps; a lease elsewhere does not.
_BOOT = getattr(time, "CLOCK_BOOTTIME", None)


def now() -> float:
    """Return seconds since the machine started, the time it slept included."""
    return time.monotonic() if _BOOT is None else time.clock_gettime(_BOOT)
