"""An SD WebUI (started with --api) that speaks its wire protocol, and can misbehave.

Wire facts: modules/api/api.py of AUTOMATIC1111/stable-diffusion-webui: `/sdapi/v1/memory` has
`cuda.system`, `cuda.reserved` and so on, or `{"error": …}` without CUDA; without `--api` every
path under /sdapi is a 404 `{"detail": "Not Found"}`.
"""

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes.comfyui import PNG

GIB = 1024**3
Handler = Callable[[Request], Awaitable[Response]]


@dataclass
class State:
    """What a test may set and look at."""

    checkpoints: dict[str, int]
    """Title → bytes of VRAM."""
    checkpoint: str
    loaded: bool = True
    vram_total: int = 12 * GIB
    elsewhere: Callable[[], int] = lambda: 0
    job: str = ""
    interrupts: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    api_off: bool = False
    password: bool = False
    ignores_unload: bool = False
    cuda: bool = True
    down: int | None = None
    loras: list[str] = field(default_factory=list)
    refreshed: list[str] = field(default_factory=list)


class FakeSdWebUi(Starlette):
    """The server."""

    def __init__(self, checkpoints: dict[str, int] | None = None, **more: Any) -> None:
        titles = {"v1-5-pruned.safetensors [6ce0161689]": 4 * GIB}
        titles = titles if checkpoints is None else checkpoints
        self.server = State(checkpoints=titles, checkpoint=next(iter(titles)), **more)
        routes: list[tuple[str, Handler, str]] = [
            ("memory", self._memory, "GET"),
            ("progress", self._progress, "GET"),
            ("sd-models", self._models, "GET"),
            ("options", self._options, "GET"),
            ("options", self._set_options, "POST"),
            ("unload-checkpoint", self._unload, "POST"),
            ("reload-checkpoint", self._reload, "POST"),
            ("interrupt", self._interrupt, "POST"),
            ("txt2img", self._draw, "POST"),
            ("loras", self._loras, "GET"),
            ("refresh-checkpoints", self._refresh, "POST"),
            ("refresh-loras", self._refresh, "POST"),
        ]
        super().__init__(
            routes=[
                Route(f"/sdapi/v1/{name}", self._guarded(fn), methods=[verb])
                for name, fn, verb in routes
            ]
        )

    @property
    def on_card(self) -> int:
        """Return what it holds on the card."""
        return self.server.checkpoints[self.server.checkpoint] if self.server.loaded else 0

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            if self.server.api_off:
                return JSONResponse({"detail": "Not Found"}, 404)
            if self.server.password:
                return JSONResponse({"detail": "Incorrect username or password"}, 401)
            if self.server.down is not None:
                return JSONResponse({"error": "RuntimeError", "errors": "broken"}, self.server.down)
            return await handler(request)

        return guarded

    async def _memory(self, _: Request) -> Response:
        state = self.server
        ram = {"free": 20 * GIB, "used": 12 * GIB, "total": 32 * GIB}
        if not state.cuda:
            return JSONResponse({"ram": ram, "cuda": {"error": "unavailable"}})
        used = self.on_card + state.elsewhere()
        system = {"free": state.vram_total - used, "used": used, "total": state.vram_total}
        held = {"current": self.on_card, "peak": self.on_card}
        cuda = {
            "system": system,
            "active": held,
            "allocated": held,
            "reserved": held,
            "inactive": {"current": 0, "peak": 0},
            "events": {"retries": 0, "oom": 0},
        }
        return JSONResponse({"ram": ram, "cuda": cuda})

    async def _progress(self, _: Request) -> Response:
        running = bool(self.server.job)
        state = {"job": self.server.job, "job_count": int(running), "job_no": 0, "sampling_step": 3}
        progress = 0.15 if running else 0.0
        return JSONResponse(
            {"progress": progress, "eta_relative": 0.0, "state": state, "current_image": None}
        )

    async def _loras(self, _: Request) -> Response:
        return JSONResponse([{"name": n, "alias": n, "path": f"/x/{n}"} for n in self.server.loras])

    async def _refresh(self, request: Request) -> Response:
        self.server.refreshed.append(request.url.path.rpartition("/")[2])
        return JSONResponse(None)

    async def _models(self, _: Request) -> Response:
        return JSONResponse(
            [
                {"title": title, "model_name": title.split(".")[0], "hash": None, "filename": title}
                for title in self.server.checkpoints
            ]
        )

    async def _options(self, _: Request) -> Response:
        return JSONResponse({"sd_model_checkpoint": self.server.checkpoint, **self.server.options})

    async def _set_options(self, request: Request) -> Response:
        body = await request.json()
        wanted = body.pop("sd_model_checkpoint", None)
        if wanted is not None and wanted not in self.server.checkpoints:
            said = {
                "error": "RuntimeError",
                "detail": "",
                "body": "",
                "errors": f"model {wanted!r} not found",
            }
            return JSONResponse(said, 500)
        self.server.checkpoint = wanted or self.server.checkpoint
        self.server.options |= body
        return JSONResponse(None)

    async def _unload(self, _: Request) -> Response:
        if not self.server.ignores_unload:
            self.server.loaded = False
        return JSONResponse({})

    async def _reload(self, _: Request) -> Response:
        self.server.loaded = True
        return JSONResponse(None)

    async def _interrupt(self, _: Request) -> Response:
        self.server.interrupts += 1
        self.server.job = ""
        return JSONResponse({})

    async def _draw(self, request: Request) -> Response:
        body = await request.json()
        self.server.loaded = True
        picture = base64.b64encode(PNG).decode()
        count = int(body.get("batch_size", 1)) * int(body.get("n_iter", 1))
        return JSONResponse({"images": [picture] * count, "parameters": body, "info": "{}"})
