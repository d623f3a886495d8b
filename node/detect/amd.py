"""AMD cards: `amd-smi`, else `rocm-smi`, else what the kernel says in sysfs."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from node.detect.run import output
from node.protocol import Card

_SYSFS = Path("/sys/class/drm")
_AMD = "0x1002"
_ROCM = Path("/opt/rocm/.info/version")


def cards(sysfs: Path = _SYSFS) -> tuple[Card, ...]:
    """Return the AMD cards (blocking)."""
    return (
        from_rocm_smi(output(["rocm-smi", "--showmeminfo", "vram", "--showuse", "--showproductname",
                              "--showtemp", "--showpower", "--json"]))
        or tuple(_from_sysfs(sysfs))
    )  # fmt: skip


def rocm_version(file: Path = _ROCM) -> str | None:
    """Return the version of ROCm."""
    try:
        return file.read_text().strip() or None
    except OSError:
        found = re.search(r"ROCm version:\s*([\d.]+)", output(["amd-smi", "version"]))
        return found.group(1) if found else None


def from_rocm_smi(text: str) -> tuple[Card, ...]:
    """Read `rocm-smi --json`; its keys carry units, and differ a little between versions."""
    try:
        document = json.loads(text)
    except ValueError:
        return ()
    entries = [
        (int(key.removeprefix("card")), values)
        for key, values in document.items()
        if re.fullmatch(r"card\d+", key) and isinstance(values, dict)
    ]
    return tuple(_rocm(index, values) for index, values in sorted(entries))


def _rocm(index: int, values: dict[str, Any]) -> Card:
    def figure(*words: str) -> float | None:
        for key, value in values.items():
            if all(word in key.lower() for word in words):
                with contextlib.suppress(TypeError, ValueError):
                    return float(value)
        return None

    total, used = figure("vram total memory"), figure("vram total used")
    use = figure("gpu use")
    name = values.get("Card Series") or values.get("Card series") or values.get("Card Model")
    return Card(
        index=index,
        name=None if name is None else str(name),
        vendor="amd",
        vram_total=None if total is None else int(total),
        vram_used=None if used is None else int(used),
        utilization=None if use is None else use / 100,
        temperature=figure("temperature", "edge"),
        power=figure("power"),
    )


def _from_sysfs(folder: Path) -> Iterator[Card]:
    """Read amdgpu's files (kernel documentation, gpu/amdgpu/driver-misc)."""
    index = 0
    for device in sorted(folder.glob("card[0-9]*/device")):
        if _text(device / "vendor") != _AMD or _number(device / "mem_info_vram_total") is None:
            continue
        use = _number(device / "gpu_busy_percent")
        yield Card(
            index=index,
            name=_text(device / "product_name") or None,
            vendor="amd",
            vram_total=_number(device / "mem_info_vram_total"),
            vram_used=_number(device / "mem_info_vram_used"),
            utilization=None if use is None else use / 100,
        )
        index += 1


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, ValueError):
        return ""


def _number(file: Path) -> int | None:
    text = _text(file)
    return int(text) if text.isdigit() else None
