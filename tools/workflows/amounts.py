"""Numbers with a unit: sizes in bytes and times in seconds. Pure."""

import re

UNITS: dict[str, float] = {
    "KB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "TB": 1e12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "s": 1,
    "min": 60,
    "h": 3600,
    "d": 86_400,
}
"""What a number may stand before, in bytes or seconds."""
_DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(s|min|h|d)?\s*", re.ASCII)


def seconds_of(value: object) -> object:
    """Return a duration such as `10 s` in seconds; what is none is left to the validation."""
    if isinstance(value, str):
        found = _DURATION.fullmatch(value)
        if found is None:
            raise ValueError(f"{value!r} is no duration; write 10 s, 5 min, 2 h or 1 d")
        return float(found[1]) * UNITS[found[2] or "s"]
    return value
