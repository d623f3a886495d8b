"""Sizes of memory as people write them: "5.5 GB", "512 MiB"."""

import re
from typing import Annotated

from pydantic import BeforeValidator

KIB, MIB, GIB = 1024, 1024**2, 1024**3

# Card makers and nvidia-smi print binary sizes under decimal names: a "12 GB" card has 12 GiB.
_UNITS = {
    "b": 1,
    "kb": KIB,
    "kib": KIB,
    "mb": MIB,
    "mib": MIB,
    "gb": GIB,
    "gib": GIB,
    "tb": 1024 * GIB,
    "tib": 1024 * GIB,
}
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*$")


def parse_size(value: object) -> int:
    """Read a size such as "5.5 GB" as bytes; GB and GiB both mean 2**30 here.

    Raises:
        ValueError: when the text is not a positive size with a unit.
    """
    if isinstance(value, str):
        match = _SIZE.match(value)
        unit = _UNITS.get(match.group(2).lower()) if match else None
        if match and unit and float(match.group(1)) > 0:
            return int(float(match.group(1)) * unit)
    if isinstance(value, int) and not isinstance(value, bool) and value >= MIB:
        return value
    raise ValueError(f"{value!r} is not a size; write it with its unit, like 5.5 GB")


def gigabytes(size: int | None) -> float | None:
    """Turn bytes into gigabytes with two digits; unknown stays unknown."""
    return None if size is None else round(size / GIB, 2)


def spoken(size: int | None) -> str:
    """Say a size for a person: "5.5 GB", or "an unknown amount"."""
    return "an unknown amount" if size is None else f"{size / GIB:.1f} GB"


Size = Annotated[int, BeforeValidator(parse_size)]
"""Bytes, written in files as "5.5 GB"."""
