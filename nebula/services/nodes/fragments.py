"""Writes a joined machine's part of the service map: `service-map.d/NAME.yml`, whole or not at all."""

import asyncio
import contextlib
import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from nebula.services.map import ServiceMap
from nebula.services.nodes.node import Node
from nebula.services.sizes import MIB

MARK = "# Kept by Jarvis for the machine that joined; delete this line to keep your own changes."
_MODELS = {
    "ollama": {"vram": "5.5 GB", "aliases": ["Ollama"]},
    "comfyui": {"vram": "7 GB", "aliases": ["Stable Diffusion", "ComfyUI", "image generation"]},
    "sdwebui": {"vram": "6 GB", "aliases": ["SD WebUI", "Automatic1111"]},
}


async def write(path: Path, node: Node, known: ServiceMap) -> bool:
    """Write the part of a machine beside the map; leave a file that a person took over alone.

    Returns whether the file changed. Raises OSError when the disk refuses.
    """
    return await asyncio.to_thread(_write, _file(path, node.name), render(node, known))


async def remove(path: Path, name: str) -> None:
    """Remove the part of a machine, unless a person took it over."""
    await asyncio.to_thread(_remove, _file(path, name))


def render(node: Node, known: ServiceMap) -> str:
    """Return the part of a machine as YAML; services that the map has elsewhere are left out."""
    host = urlsplit(node.url).hostname or "127.0.0.1"
    entry: dict[str, Any] = {"name": node.name, "agent": True, "address": host}
    if node.hardware.tailscale:
        entry["tailscale"] = node.hardware.tailscale
    cards = [
        {"index": c.index, "name": _word(c.name)}
        | ({"vram": f"{c.vram_total / MIB:.0f} MB"} if c.vram_total else {})
        for c in node.hardware.cards
    ]
    if cards:
        entry["gpus"] = [{k: v for k, v in c.items() if v} for c in cards]
    taken = {known.address(s) for s in known.services if s.node != node.name}
    services = [
        {"name": f"{node.name}-{kind}", "kind": kind, "node": node.name, "port": port}
        | _MODELS.get(kind, {})
        for kind, port in _services(node)
        if f"http://{host}:{port}" not in taken
    ]
    document: dict[str, Any] = {"version": 1, "nodes": [entry]}
    if services:
        document["services"] = services
    return f"{MARK}\n" + yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def _services(node: Node) -> list[tuple[str, int]]:
    """Return the AI services that others can reach on this machine, each kind once."""
    found = {f.kind: f.port for f in node.found if f.reachable and f.kind in _MODELS}
    return sorted(found.items())


def _word(name: str | None) -> str | None:
    """Return a card's name in the form that the map takes."""
    text = " ".join((name or "").split())
    return text[:80] if text.isprintable() and text else None


def _file(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}.d") / f"{name}.yml"


def _write(file: Path, text: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        present = file.read_text(encoding="utf-8")
        if present == text or not present.startswith(MARK):
            return False
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    return True


def _remove(file: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if file.read_text(encoding="utf-8").startswith(MARK):
            file.unlink()
