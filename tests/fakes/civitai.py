"""CivitAI's REST API, version 1, and its downloads, and ways to misbehave.

Wire facts: https://developer.civitai.com/site/reference/models and …/model-versions. Downloads
redirect (307) to a signed address; without a key, models that need one answer 401 or lead to the
page to sign in; addresses by type may answer 404 where `?fileId=` works.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.fakes.files import FileServer


@dataclass
class CivitFile:
    """A file of a version."""

    name: str
    content: bytes
    type: str = "Model"
    primary: bool = True
    scan: str = "Success"
    hashed: bool = True
    kilobytes: float | None = None
    by_type_missing: bool = False


@dataclass
class CivitVersion:
    """A version of a model."""

    id: int
    name: str
    files: list[CivitFile]
    base_model: str = "SDXL 1.0"
    trained_words: tuple[str, ...] = ("pixelstyle",)


@dataclass
class CivitModel:
    """A model."""

    id: int
    name: str
    versions: list[CivitVersion]
    type: str = "LORA"
    nsfw: bool = False
    needs_key: bool = False


class FakeCivitAI(Starlette):
    """The site; `cdn` is where its files come from, itself when not set."""

    def __init__(self, *models: CivitModel, key: str = "civit-key") -> None:
        self.models = {model.id: model for model in models}
        self.key = key
        self.files = FileServer()
        self.cdn = ""
        self.elsewhere = ""
        """When set, downloads redirect here."""
        self.status: list[int] = []
        self.retry_after: str | None = None
        self.asked: list[str] = []
        super().__init__(
            routes=[
                Route("/api/v1/models", self._search),
                Route("/api/v1/models/{id:int}", self._model),
                Route("/api/v1/model-versions/{id:int}", self._version),
                Route("/api/download/models/{id:int}", self._download),
                Route("/delivery/{sha}", self._deliver),
            ]
        )

    def _hindered(self, request: Request) -> Response | None:
        self.asked.append(str(request.url))
        if self.status:
            headers = {"Retry-After": self.retry_after} if self.retry_after else None
            return JSONResponse({"error": "no"}, self.status.pop(0), headers)
        return None

    async def _search(self, request: Request) -> Response:
        if (hindered := self._hindered(request)) is not None:
            return hindered
        query = request.query_params.get("query", "").lower()
        types = request.query_params.getlist("types")
        nsfw = request.query_params.get("nsfw") == "true"
        found = [
            self._described(model, request)
            for model in self.models.values()
            if query in model.name.lower()
            and (not types or model.type in types)
            and (nsfw or not model.nsfw)
        ]
        return JSONResponse({"items": found, "metadata": {"nextCursor": None}})

    async def _model(self, request: Request) -> Response:
        if (hindered := self._hindered(request)) is not None:
            return hindered
        model = self.models.get(request.path_params["id"])
        if model is None:
            return JSONResponse({"error": "No model with id"}, 404)
        return JSONResponse(self._described(model, request))

    async def _version(self, request: Request) -> Response:
        for model in self.models.values():
            for version in model.versions:
                if version.id == request.path_params["id"]:
                    return JSONResponse({"id": version.id, "modelId": model.id})
        return JSONResponse({"error": "Model not found"}, 404)

    def _described(self, model: CivitModel, request: Request) -> dict[str, Any]:
        base = str(request.base_url).rstrip("/")
        return {
            "id": model.id,
            "name": model.name,
            "type": model.type,
            "nsfw": model.nsfw,
            "tags": ["style"],
            "allowCommercialUse": ["Image"],
            "allowNoCredit": False,
            "creator": {"username": "painter"},
            "stats": {"downloadCount": 321, "thumbsUpCount": 12},
            "modelVersions": [
                {
                    "id": version.id,
                    "name": version.name,
                    "baseModel": version.base_model,
                    "trainedWords": list(version.trained_words),
                    "files": [
                        _file(base, version, number, file)
                        for number, file in enumerate(version.files)
                    ],
                }
                for version in model.versions
            ],
        }

    async def _download(self, request: Request) -> Response:
        self.asked.append(str(request.url))
        authorized = request.headers.get("authorization") == f"Bearer {self.key}"
        for model in self.models.values():
            for version in model.versions:
                if version.id != request.path_params["id"]:
                    continue
                if model.needs_key and not authorized:
                    return JSONResponse({"error": "Unauthorized"}, 401)
                return self._send(version, request)
        return Response(status_code=404)

    def _send(self, version: CivitVersion, request: Request) -> Response:
        number = request.query_params.get("fileId")
        kind = request.query_params.get("type")
        for index, file in enumerate(version.files):
            if number == str(version.id * 10 + index) or (
                number is None and (kind or "Model") == file.type and not file.by_type_missing
            ):
                sha = hashlib.sha256(file.content).hexdigest()
                there = self.elsewhere or f"{self.cdn}/delivery/{sha}?X-Amz-Signature=signed"
                return RedirectResponse(there, 307)
        return Response(status_code=404)

    async def _deliver(self, request: Request) -> Response:
        if request.headers.get("authorization"):
            self.files.authorizations.append(request.headers["authorization"])
            return Response("<Error>InvalidRequest</Error>", 400)
        for model in self.models.values():
            for version in model.versions:
                for file in version.files:
                    if hashlib.sha256(file.content).hexdigest() == request.path_params["sha"]:
                        return self.files.answer(request, file.content)
        return Response(status_code=404)


def _file(base: str, version: CivitVersion, number: int, file: CivitFile) -> dict[str, Any]:
    query = "" if file.type == "Model" else f"?type={file.type}"
    size = len(file.content) / 1024 if file.kilobytes is None else file.kilobytes
    entry: dict[str, Any] = {
        "id": version.id * 10 + number,
        "name": file.name,
        "type": file.type,
        "sizeKB": size,
        "pickleScanResult": file.scan,
        "virusScanResult": "Success",
        "metadata": {"format": "SafeTensor"},
        "downloadUrl": f"{base}/api/download/models/{version.id}{query}",
        "hashes": {"AutoV2": "ABCDEF"},
    }
    if file.hashed:
        entry["hashes"]["SHA256"] = hashlib.sha256(file.content).hexdigest().upper()
    return {**entry, "primary": True} if file.primary else entry
