"""What P6 switches between: an Ollama-like server with a load time, and a small swapping proxy.

Run: python -m benchmarks.p6_servers PORT PROXY_PORT
"""

import asyncio
import sys
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

LOAD_SECONDS = 0.3
SIZE = 7 * 2**30


class Models:
    """Holds models on a pretended card: loading one takes a while, dropping one no time."""

    def __init__(self) -> None:
        """Begin with nothing loaded."""
        self.loaded: dict[str, int] = {}
        routes = [
            Route("/api/ps", self.ps),
            Route("/api/tags", self.tags),
            Route("/api/generate", self.generate, methods=["POST"]),
        ]
        self.app = Starlette(routes=routes)

    async def ps(self, _: Request) -> JSONResponse:
        """List what is loaded."""
        models = [{"name": n, "size_vram": size} for n, size in self.loaded.items()]
        return JSONResponse({"models": models})

    async def tags(self, _: Request) -> JSONResponse:
        """List what is installed."""
        return JSONResponse({"models": [{"name": name} for name in ("a", "b")]})

    async def generate(self, request: Request) -> JSONResponse:
        """Load or drop a model; an answer costs nothing."""
        body: dict[str, Any] = await request.json()
        name = body["model"]
        if body.get("keep_alive") == 0:
            self.loaded.pop(name, None)
        elif name not in self.loaded:
            await asyncio.sleep(LOAD_SECONDS)
            self.loaded[name] = SIZE
        return JSONResponse({"model": name, "done": True, "response": ""})


class SwapProxy:
    """What llama-swap does, in a few lines: one model at a time, unloaded when another is asked."""

    def __init__(self, upstream: str) -> None:
        """Take the address of the server behind it."""
        self._http = httpx.AsyncClient(base_url=upstream, timeout=30.0)
        self._now = ""
        self._lock = asyncio.Lock()
        self.app = Starlette(routes=[Route("/api/generate", self.generate, methods=["POST"])])

    async def generate(self, request: Request) -> JSONResponse:
        """Swap first when another model is loaded, then pass the request on."""
        body: dict[str, Any] = await request.json()
        async with self._lock:
            if self._now not in {"", body["model"]}:
                drop = {"model": self._now, "keep_alive": 0}
                await self._http.post("/api/generate", json=drop)
            self._now = body["model"]
            answer = await self._http.post("/api/generate", json=body)
        return JSONResponse(answer.json())


async def main() -> None:
    """Serve both until the process is ended."""
    port, proxy = int(sys.argv[1]), int(sys.argv[2])
    apps = [(Models().app, port), (SwapProxy(f"http://127.0.0.1:{port}").app, proxy)]
    servers = [
        uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=at, log_level="critical"))
        for app, at in apps
    ]
    await asyncio.gather(*(server.serve() for server in servers))


if __name__ == "__main__":
    asyncio.run(main())
