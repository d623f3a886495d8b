"""Where a kind of model file lies below a service's folder. Pure data."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Final


class ModelKind(StrEnum):
    """What a model file is for; named as ComfyUI names its folders."""

    CHECKPOINTS = "checkpoints"
    LORAS = "loras"
    VAE = "vae"
    CONTROLNET = "controlnet"
    EMBEDDINGS = "embeddings"
    UPSCALE_MODELS = "upscale_models"
    TEXT_ENCODERS = "text_encoders"
    DIFFUSION_MODELS = "diffusion_models"
    CLIP_VISION = "clip_vision"
    HYPERNETWORKS = "hypernetworks"
    DIFFUSERS = "diffusers"


# Below ComfyUI's `models`; below the folder that SD WebUI itself is in.
LAYOUTS: Final[Mapping[str, Mapping[ModelKind, str]]] = {
    "comfyui": {kind: kind.value for kind in ModelKind},
    "sdwebui": {
        ModelKind.CHECKPOINTS: "models/Stable-diffusion",
        ModelKind.LORAS: "models/Lora",
        ModelKind.VAE: "models/VAE",
        ModelKind.CONTROLNET: "models/ControlNet",
        ModelKind.EMBEDDINGS: "embeddings",
        ModelKind.UPSCALE_MODELS: "models/ESRGAN",
        ModelKind.TEXT_ENCODERS: "models/text_encoder",
        ModelKind.HYPERNETWORKS: "models/hypernetworks",
    },
}


def layout(service_kind: str, own: Mapping[ModelKind, str]) -> dict[ModelKind, PurePosixPath]:
    """Return where each kind of model lies: the usual places, with the map's own in front."""
    usual = LAYOUTS.get(service_kind, {})
    return {kind: PurePosixPath(path) for kind, path in {**usual, **own}.items()}
