"""A Hugging Face hub that speaks its API and delivers files, and can misbehave.

Wire facts: huggingface_hub's hf_api.py and utils/_http.py (paths, `blobs=true`, X-Error-Code), and
its file download: LFS files redirect to a signed address of a delivery network, small ones come at
once; `X-Linked-Etag` is the SHA-256.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.fakes.files import FileServer

COMMIT = "31e43f9e8a1f4a8d9b0c7a6f5e4d3c2b1a098765"
LFS_FROM = 1_000


@dataclass
class Repo:
    """A model repository."""

    files: dict[str, bytes]
    tags: tuple[str, ...] = ("text-to-image", "license:openrail++")
    pipeline_tag: str = "text-to-image"
    gated: str | bool = False
    downloads: int = 1000
    card: dict[str, Any] = field(default_factory=lambda: {"license": "openrail++"})


class FakeHuggingFace(Starlette):
    """The hub; `cdn` is where its files come from, itself when not set."""

    def __init__(self, repos: dict[str, Repo] | None = None, *, token: str = "hf_good") -> None:
        self.repos = repos or {}
        self.token = token
        self.files = FileServer()
        self.cdn = ""
        self.status: list[int] = []
        """Answer the API with these first."""
        self.retry_after: str | None = None
        self.nonsense = False
        self.asked: list[str] = []
        self.authorizations: list[str | None] = []
        super().__init__(
            routes=[
                Route("/api/models", self._search),
                Route("/api/models/{owner}/{name}", self._model),
                Route("/api/models/{owner}/{name}/revision/{revision}", self._model),
                Route("/{owner}/{name}/resolve/{revision}/{path:path}", self._resolve),
                Route("/cdn/{sha}", self._deliver),
            ]
        )

    def _hindered(self, request: Request) -> Response | None:
        self.asked.append(str(request.url))
        self.authorizations.append(request.headers.get("authorization"))
        if self.status:
            headers = {"Retry-After": self.retry_after} if self.retry_after else None
            return JSONResponse({"error": "no"}, self.status.pop(0), headers)
        return Response("<html>") if self.nonsense else None

    async def _search(self, request: Request) -> Response:
        if (hindered := self._hindered(request)) is not None:
            return hindered
        words = request.query_params.get("search", "").lower().split()
        wanted = request.query_params.getlist("filter")
        found = [
            self._described(name, repo)
            for name, repo in self.repos.items()
            if all(word in name.lower() for word in words)
            and all(tag in repo.tags for tag in wanted)
        ]
        return JSONResponse(found[: int(request.query_params.get("limit", 100))])

    async def _model(self, request: Request) -> Response:
        if (hindered := self._hindered(request)) is not None:
            return hindered
        repo = self._repo(request)
        if repo is None:
            return _refused(401, "RepoNotFound")
        revision = request.path_params.get("revision", "main")
        if revision not in {"main", COMMIT}:
            return _refused(404, "RevisionNotFound")
        blobs = request.query_params.get("blobs") == "true"
        siblings = [_sibling(path, content, blobs) for path, content in repo.files.items()]
        name = f"{request.path_params['owner']}/{request.path_params['name']}"
        return JSONResponse({**self._described(name, repo), "siblings": siblings})

    def _described(self, name: str, repo: Repo) -> dict[str, Any]:
        return {
            "_id": "1",
            "id": name,
            "modelId": name,
            "author": name.partition("/")[0],
            "sha": COMMIT,
            "private": False,
            "gated": repo.gated,
            "downloads": repo.downloads,
            "likes": 7,
            "tags": list(repo.tags),
            "pipeline_tag": repo.pipeline_tag,
            "lastModified": "2025-03-01T10:00:00.000Z",
            "cardData": repo.card,
        }

    def _repo(self, request: Request) -> Repo | None:
        return self.repos.get(f"{request.path_params['owner']}/{request.path_params['name']}")

    def _signed_in(self, request: Request) -> bool:
        return request.headers.get("authorization") == f"Bearer {self.token}"

    async def _resolve(self, request: Request) -> Response:
        self.asked.append(str(request.url))
        self.authorizations.append(request.headers.get("authorization"))
        repo = self._repo(request)
        path = request.path_params["path"]
        if repo is None or path not in repo.files:
            return _refused(404, "EntryNotFound")
        if repo.gated and not self._signed_in(request):
            return _refused(401, "GatedRepo")
        content = repo.files[path]
        if len(content) < LFS_FROM:
            return self.files.answer(request, content)
        sha = hashlib.sha256(content).hexdigest()
        signed = f"{self.cdn}/cdn/{sha}?Signature=secret-signature"
        return RedirectResponse(signed, 302, {"X-Linked-Etag": f'"{sha}"'})

    async def _deliver(self, request: Request) -> Response:
        # Delivery networks refuse requests that are signed and carry a token, too.
        if request.headers.get("authorization"):
            return JSONResponse({"error": "Only one auth mechanism allowed"}, 400)
        wanted = request.path_params["sha"]
        for repo in self.repos.values():
            for content in repo.files.values():
                if hashlib.sha256(content).hexdigest() == wanted:
                    return self.files.answer(request, content)
        return Response(status_code=404)


def _sibling(path: str, content: bytes, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": path}
    git = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    entry: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": git}
    if len(content) >= LFS_FROM:
        sha = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"size": len(content), "sha256": sha, "pointerSize": 134}
    return entry


def _refused(status: int, code: str) -> Response:
    return JSONResponse({"error": code}, status, {"X-Error-Code": code})
