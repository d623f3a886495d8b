"""Hugging Face: search, one model with its files, and where they are fetched.

huggingface_hub reads the answers (ModelInfo) and builds the addresses of files (hf_hub_url). Its
HfApi is not used: it asks the public hub for a list of agents whatever endpoint is set, waits
without a limit when searching, and shares one blocking client per process.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import httpx

from nebula.errors import NotFound, PermissionDenied
from nebula.services.folders import ModelKind
from tools.models.naming import WEIGHTS, ending_of
from tools.models.offer import Offer, OfferedFile
from tools.models.reference import Reference, Source
from tools.models.settings import ModelsSettings
from tools.models.web import Hub

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo
    from huggingface_hub.hf_api import RepoSibling

_SIGN_IN: Final = (
    "Accept its licence on its page at Hugging Face, and set HF_TOKEN to a token that may read it."
)
_FACTS: Final = ("downloads", "likes", "gated", "tags", "pipeline_tag", "lastModified", "author")
_SHA: Final = re.compile(r"^[0-9a-f]{64}$")
_GIT: Final = re.compile(r"^[0-9a-f]{40}$")

# What a tag, a folder of the repository or a word of its name says about a file.
_BY_WORD: Final[Mapping[str, ModelKind]] = {
    "lora": ModelKind.LORAS,
    "loras": ModelKind.LORAS,
    "controlnet": ModelKind.CONTROLNET,
    "vae": ModelKind.VAE,
    "text_encoder": ModelKind.TEXT_ENCODERS,
    "text_encoders": ModelKind.TEXT_ENCODERS,
    "clip_vision": ModelKind.CLIP_VISION,
    "diffusion_models": ModelKind.DIFFUSION_MODELS,
    "unet": ModelKind.DIFFUSION_MODELS,
    "embeddings": ModelKind.EMBEDDINGS,
    "upscale_models": ModelKind.UPSCALE_MODELS,
    "checkpoints": ModelKind.CHECKPOINTS,
}
_BY_TAG: Final[Mapping[str, ModelKind]] = {
    "lora": ModelKind.LORAS,
    "controlnet": ModelKind.CONTROLNET,
    "textual_inversion": ModelKind.EMBEDDINGS,
    "text-to-image": ModelKind.CHECKPOINTS,
    "stable-diffusion": ModelKind.CHECKPOINTS,
}
_FILTERS: Final[Mapping[ModelKind, str]] = {
    ModelKind.CHECKPOINTS: "text-to-image",
    ModelKind.LORAS: "lora",
    ModelKind.CONTROLNET: "controlnet",
    ModelKind.EMBEDDINGS: "textual_inversion",
}


class HuggingFace:
    """The hub's API."""

    def __init__(self, http: httpx.AsyncClient, settings: ModelsSettings) -> None:
        """Take the client for addresses from settings, and the settings."""
        token = settings.hf_token.get_secret_value()
        self.hub = Hub(http, "Hugging Face", settings.hf_endpoint, token, _SIGN_IN)

    async def search(self, query: str, kind: ModelKind | None, limit: int) -> list[Offer]:
        """Return models that fit the words, those fetched most first."""
        params: dict[str, Any] = {"search": query, "limit": limit, "sort": "downloads"}
        params["expand"] = list(_FACTS)
        if kind is not None and kind in _FILTERS:
            params["filter"] = _FILTERS[kind]
        found = await self.hub.get("/api/models", params)
        if not isinstance(found, list):
            raise self.hub.nonsense()
        return [self._offer(self._parsed(item)) for item in found[:limit]]

    async def show(self, reference: Reference) -> Offer:
        """Return a model with its files, their sizes and checksums, at one commit.

        Raises:
            NotFound: when there is no such model, or none that this token may see.
        """
        path = f"/api/models/{reference.id}"
        if reference.version:
            path += f"/revision/{quote(reference.version, safe='')}"
        try:
            item = await self.hub.get(path, {"blobs": "true"})
        except NotFound as error:
            raise NotFound(
                f"Hugging Face has no model {reference.id}", hint="models_search finds names."
            ) from error
        except PermissionDenied as error:
            # Hugging Face answers so for what does not exist, too, when nobody is signed in.
            raise PermissionDenied(
                f"Hugging Face shows no model {reference.id} without a sign-in",
                hint=f"Check the name. {_SIGN_IN}",
            ) from error
        return self._offer(self._parsed(item), fallback=reference.id)

    def _parsed(self, item: Any) -> "ModelInfo":
        from huggingface_hub import ModelInfo

        if not isinstance(item, dict) or "id" not in item:
            raise self.hub.nonsense()
        try:
            return ModelInfo(**item)  # type: ignore[no-untyped-call]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self.hub.nonsense() from error

    def _offer(self, info: "ModelInfo", fallback: str = "") -> Offer:
        name = str(info.id or fallback)
        tags = tuple(str(tag) for tag in info.tags or ())
        card = vars(info.card_data) if info.card_data is not None else {}
        kind = next((_BY_TAG[tag] for tag in tags if tag in _BY_TAG), None)
        return Offer(
            source=Source.HUGGINGFACE,
            id=name,
            name=name.rpartition("/")[2],
            version=str(info.sha or ""),
            page=f"{self.hub.endpoint}/{name}",
            creator=name.partition("/")[0],
            kind=kind,
            kind_name=str(info.pipeline_tag or ""),
            license=str(card.get("license") or _tagged(tags, "license:")),
            base_model=_tagged(tags, "base_model:"),
            trained_words=tuple(str(w) for w in [card.get("instance_prompt")] if w),
            tags=tuple(tag for tag in tags if ":" not in tag)[:20],
            gated=bool(info.gated),
            nsfw="not-for-all-audiences" in tags,
            downloads=info.downloads,
            likes=info.likes,
            updated=info.last_modified,
            files=tuple(self._file(name, info, each, kind) for each in info.siblings or ()),
        )

    def _file(
        self, repo: str, info: "ModelInfo", entry: "RepoSibling", kind: ModelKind | None
    ) -> OfferedFile:
        from huggingface_hub import hf_hub_url

        path = str(entry.rfilename)
        sha256 = str(entry.lfs.sha256) if entry.lfs else ""
        size = entry.lfs.size if entry.lfs else entry.size
        git = "" if entry.lfs else str(entry.blob_id or "")
        revision = str(info.sha or "main")
        return OfferedFile(
            name=path,
            size=size if isinstance(size, int) and size >= 0 else None,
            sha256=sha256 if _SHA.match(sha256) else None,
            git=git if _GIT.match(git) else None,
            kind=_kind_of(path) or kind,
            format=ending_of(path).lstrip("."),
            primary=ending_of(path) in WEIGHTS and "/" not in path,
            url=hf_hub_url(repo, path, revision=revision, endpoint=self.hub.endpoint),
        )


def _kind_of(path: str) -> ModelKind | None:
    """Guess from the folders of a file, then from the words of its name."""
    *folders, name = path.lower().split("/")
    for folder in reversed(folders):
        if folder in _BY_WORD:
            return _BY_WORD[folder]
    words = re.split(r"[^a-z]+", name.rpartition(".")[0])
    return next((_BY_WORD[word] for word in words if word in {"lora", "controlnet", "vae"}), None)


def _tagged(tags: tuple[str, ...], prefix: str) -> str:
    return next((tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix)), "")
