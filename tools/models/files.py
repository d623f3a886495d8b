"""What ComfyUI and SD WebUI themselves tell about the model files they see."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from nebula.errors import NotFound
from nebula.gpu.drivers.comfyui import ComfyDriver
from nebula.gpu.drivers.wire import Wire
from nebula.services.folders import ModelKind

_SD_LISTS: Final[Mapping[ModelKind, tuple[str, str]]] = {
    ModelKind.CHECKPOINTS: ("sd-models", "title"),
    ModelKind.LORAS: ("loras", "name"),
    ModelKind.VAE: ("sd-vae", "model_name"),
    ModelKind.UPSCALE_MODELS: ("upscalers", "model_name"),
}

_SD_REFRESH: Final[Mapping[ModelKind, str]] = {
    ModelKind.CHECKPOINTS: "refresh-checkpoints",
    ModelKind.LORAS: "refresh-loras",
    ModelKind.VAE: "refresh-vae",
    ModelKind.EMBEDDINGS: "refresh-embeddings",
}

Told = dict[ModelKind, list[str]]


async def files_told(wire: Wire, kind: str) -> Told:
    """Return the names by kind of model; raises NebulaError when the service is away."""
    if kind == "comfyui":
        return await _comfyui(wire)
    return await _sdwebui(wire) if kind == "sdwebui" else {}


async def _comfyui(wire: Wire) -> Told:
    try:
        folders = await wire.get("/models")
    except NotFound:  # older than 0.2: it tells its checkpoints only
        return {ModelKind.CHECKPOINTS: list(await ComfyDriver(wire).models())}
    if not isinstance(folders, list):
        raise wire.nonsense()
    kinds = [kind for kind in ModelKind if kind.value in folders]
    listed = await asyncio.gather(*(wire.get(f"/models/{kind.value}") for kind in kinds))
    return {kind: _names(names) for kind, names in zip(kinds, listed, strict=True)}


async def _sdwebui(wire: Wire) -> Told:
    found: Told = {}
    for kind, (path, key) in _SD_LISTS.items():
        try:
            listed = await wire.get(f"/sdapi/v1/{path}")
        except NotFound:
            continue
        entries = listed if isinstance(listed, list) else []
        names = [e.get(key) for e in entries if isinstance(e, dict)]
        found[kind] = _names([_untitled(name) for name in names if name])
    return found


def _untitled(title: Any) -> str:
    """Drop the hash that SD WebUI puts behind a file's name: `sd.safetensors [6ce0161689]`."""
    name, bracket, _ = str(title).rpartition(" [")
    return (name if bracket else str(title)).replace("\\", "/")


def _names(listed: Any) -> list[str]:
    if not isinstance(listed, list):
        return []
    return [str(name).replace("\\", "/") for name in listed if isinstance(name, str) and name]


async def refresh(wire: Wire, service_kind: str, kind: ModelKind) -> bool:
    """Have a service read its folder again; return whether it did. ComfyUI does so by itself."""
    if service_kind != "sdwebui":
        return True
    call = _SD_REFRESH.get(kind)
    if call is None:
        return False
    await wire.post(f"/sdapi/v1/{call}", seconds=60.0)
    return True
