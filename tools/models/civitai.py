"""CivitAI's REST API, version 1: search, one model with its versions, and where files are fetched.

https://developer.civitai.com/site/reference/models and …/model-versions. Downloads redirect to a
signed address of another host, which refuses requests that still carry the token.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import httpx

from nebula.errors import InvalidInput, NebulaError, NotFound
from nebula.http import origin_of
from nebula.services.folders import ModelKind
from tools.models.naming import ending_of
from tools.models.offer import Offer, OfferedFile
from tools.models.reference import Reference, Source
from tools.models.settings import ModelsSettings
from tools.models.web import Hub

_SIGN_IN: Final = "Make an API key in your CivitAI account's settings and set CIVITAI_TOKEN to it."
_SHA: Final = re.compile(r"^[0-9a-fA-F]{64}$")

_TYPES: Final[Mapping[str, ModelKind]] = {
    "Checkpoint": ModelKind.CHECKPOINTS,
    "LORA": ModelKind.LORAS,
    "LoCon": ModelKind.LORAS,
    "DoRA": ModelKind.LORAS,
    "TextualInversion": ModelKind.EMBEDDINGS,
    "Controlnet": ModelKind.CONTROLNET,
    "VAE": ModelKind.VAE,
    "Upscaler": ModelKind.UPSCALE_MODELS,
    "Hypernetwork": ModelKind.HYPERNETWORKS,
    "UNet": ModelKind.DIFFUSION_MODELS,
    "TextEncoder": ModelKind.TEXT_ENCODERS,
}
_UNFIT: Final = frozenset({"Training Data", "Config", "Archive", "Negative", "Workflow"})


class CivitAI:
    """The API."""

    def __init__(self, http: httpx.AsyncClient, settings: ModelsSettings) -> None:
        """Take the client for addresses from settings, and the settings."""
        token = settings.civitai_token.get_secret_value()
        self.hub = Hub(http, "CivitAI", settings.civitai_endpoint, token, _SIGN_IN)

    async def search(self, query: str, kind: ModelKind | None, limit: int) -> list[Offer]:
        """Return models that fit the words; nothing marked as not safe for work."""
        params: dict[str, Any] = {"query": query, "limit": limit, "nsfw": "false"}
        if kind is not None:
            types = [name for name, each in _TYPES.items() if each is kind]
            if not types:
                return []
            params["types"] = types
        found = self._mapping(await self.hub.get("/api/v1/models", params)).get("items")
        if not isinstance(found, list):
            raise self.hub.nonsense()
        return [self._offer(self._mapping(item), None) for item in found[:limit]]

    async def show(self, reference: Reference) -> Offer:
        """Return a model at one version (the newest when none is named) with its files.

        Raises:
            NotFound: when there is no such model or version.
        """
        number = reference.id or await self._model_of(str(reference.version))
        try:
            model = self._mapping(await self.hub.get(f"/api/v1/models/{number}"))
        except NotFound as error:
            raise NotFound(
                f"CivitAI has no model {number}", hint="models_search finds numbers."
            ) from error
        return self._offer(model, reference.version)

    async def _model_of(self, version: str) -> str:
        try:
            found = self._mapping(await self.hub.get(f"/api/v1/model-versions/{version}"))
        except NotFound as error:
            raise NotFound(f"CivitAI has no version {version}") from error
        if not isinstance(found.get("modelId"), int):
            raise self.hub.nonsense()
        return str(found["modelId"])

    def _offer(self, model: Mapping[str, Any], wanted: str | None) -> Offer:
        number = model.get("id")
        if not isinstance(number, int):
            raise self.hub.nonsense()
        versions = [v for v in _list(model.get("modelVersions")) if isinstance(v, dict)]
        version = _version(versions, wanted, number)
        word = _text(model.get("type"))
        creator = model.get("creator")
        stats = model.get("stats")
        return Offer(
            source=Source.CIVITAI,
            id=str(number),
            name=_text(model.get("name")),
            version=_text(version.get("id")),
            version_name=_text(version.get("name")),
            page=f"{self.hub.endpoint}/models/{number}",
            creator=_text(creator.get("username")) if isinstance(creator, dict) else "",
            kind=_TYPES.get(word),
            kind_name=word,
            license=_license(model),
            base_model=_text(version.get("baseModel")),
            trained_words=tuple(_text(w) for w in _list(version.get("trainedWords")))[:20],
            tags=tuple(_text(t) for t in _list(model.get("tags")))[:20],
            nsfw=bool(model.get("nsfw")),
            downloads=_whole(stats.get("downloadCount")) if isinstance(stats, dict) else None,
            likes=_whole(stats.get("thumbsUpCount")) if isinstance(stats, dict) else None,
            files=tuple(
                self._file(entry, version, _TYPES.get(word))
                for entry in _list(version.get("files"))
                if isinstance(entry, dict) and entry.get("name")
            ),
            versions=tuple(f"{_text(v.get('id'))} {_text(v.get('name'))}" for v in versions[:20]),
        )

    def _file(
        self, entry: Mapping[str, Any], version: Mapping[str, Any], kind: ModelKind | None
    ) -> OfferedFile:
        hashes = entry.get("hashes")
        sha256 = _text(hashes.get("SHA256")) if isinstance(hashes, dict) else ""
        word = _text(entry.get("type"))
        name = _text(entry.get("name"))
        kilobytes = entry.get("sizeKB")
        # The figure is the size divided by 1024, exact for any file that fits a float.
        size = round(kilobytes * 1024) if isinstance(kilobytes, int | float) else None
        plain = f"{self.hub.endpoint}/api/download/models/{_text(version.get('id'))}"
        return OfferedFile(
            name=name,
            size=size if size and size > 0 else None,
            sha256=sha256.lower() if _SHA.match(sha256) else None,
            kind=ModelKind.VAE if word == "VAE" else _TYPES.get(word) or kind,
            primary=bool(entry.get("primary")),
            format=ending_of(name).lstrip("."),
            note=_note(entry, word),
            url=self._own(_text(entry.get("downloadUrl"))) or plain,
            # Addresses by type and format answer 404 for some files; by number they do not.
            fallback=f"{plain}?fileId={entry['id']}" if isinstance(entry.get("id"), int) else "",
        )

    def _own(self, url: str) -> str:
        """Return a file's address when it is CivitAI's own: the token goes there."""
        try:
            return url if url and origin_of(url) in self.hub.trusted else ""
        except NebulaError:
            return ""

    def _mapping(self, document: Any) -> Mapping[str, Any]:
        if not isinstance(document, dict):
            raise self.hub.nonsense()
        return document


def _version(versions: list[dict[str, Any]], wanted: str | None, number: int) -> Mapping[str, Any]:
    if wanted is None:
        return versions[0] if versions else {}
    found = next((v for v in versions if _text(v.get("id")) == wanted), None)
    if found is None:
        known = ", ".join(f"{_text(v.get('id'))} {_text(v.get('name'))}" for v in versions[:8])
        raise InvalidInput(f"Model {number} has no version {wanted}", hint=f"It has: {known}.")
    return found


def _note(entry: Mapping[str, Any], word: str) -> str:
    """Say what speaks against fetching a file."""
    for key, what in (("pickleScanResult", "pickle"), ("virusScanResult", "virus")):
        result = _text(entry.get(key))
        if result in {"Danger", "Error"}:
            return f"CivitAI's {what} scan says: {result}"
    return f"it is {word.lower()}, not a model" if word in _UNFIT else ""


def _license(model: Mapping[str, Any]) -> str:
    """Say in a few words what the creator allows."""
    allowed = model.get("allowCommercialUse")
    uses = [_text(u) for u in allowed] if isinstance(allowed, list) else [_text(allowed)]
    said = ["commercial use: " + (", ".join(u for u in uses if u) or "none")]
    if model.get("allowNoCredit") is False:
        said.append("credit the creator")
    if model.get("allowDerivatives") is False:
        said.append("no derivatives")
    return "; ".join(said) if allowed is not None else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return "" if value is None else " ".join(str(value).split())[:300]


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
