"""A server of the chaos run that holds models, as Ollama does: `model_server.py SPEC`, SPEC a JSON.

It speaks the part of Ollama's protocol that GPU work needs, takes its time to load, and holds what
it loaded on the pretended card: also while it loads, and for a moment after it said that a model
is gone. Until the file `calm` is there it misbehaves now and then. It writes down what it did with
its own clock, and the time over and over, so that how long it lived is known when it is killed.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

_TICK_SECONDS = 0.02
Spec = dict[str, Any]


class ModelServer:
    """Holds models on one card, and journals everything that an eye on that card would see."""

    def __init__(self, spec: Spec) -> None:
        """Take what there is to load, where it listens, and where to write."""
        self.spec = spec
        self.out = Path(spec["out"])
        self.name = f"{spec['service']}-{os.getpid()}"
        self.holds: dict[str, int] = {}
        """Bytes on the card, by model; what is loading or leaving, too."""
        self.loaded: set[str] = set()
        self.serving = Counter[str]()
        self._leaving: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Condition()
        self._locks = {model: asyncio.Lock() for model in spec["models"]}
        self._random = random.Random(f"{spec['service']} {os.getpid()}")
        self._journal = self.out / "models" / f"{self.name}.jsonl"
        routes = [
            Route("/api/version", self.version),
            Route("/api/tags", self.tags),
            Route("/api/ps", self.ps),
            Route("/api/generate", self.generate, methods=["POST"]),
            Route("/api/chat", self.chat, methods=["POST"]),
        ]
        self.app = Starlette(routes=routes)

    def note(self, event: str, **more: Any) -> None:
        """Write one line, whole or not at all."""
        about = {"at": time.time(), "event": event, "service": self.spec["service"], **more}
        file = os.open(self._journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, json.dumps(about).encode() + b"\n")
        os.close(file)

    def _hold(self, model: str, size: int) -> None:
        """Take room on the card, or give it back (0), and let the card show it."""
        self.holds[model] = size
        held = self.out / "cards" / self.spec["card"] / str(os.getpid())
        draft = held.with_suffix(".draft")
        draft.write_text(str(sum(self.holds.values())))
        draft.replace(held)

    def _mishap(self, share: float) -> bool:
        return self._random.random() < share and not (self.out / "calm").exists()

    async def version(self, _: Request) -> Response:
        """Say that it is up."""
        return JSONResponse({"version": "0.11.0"})

    async def tags(self, _: Request) -> Response:
        """List what is installed."""
        return JSONResponse({"models": [{"name": f"{m}:latest"} for m in self.spec["models"]]})

    async def ps(self, _: Request) -> Response:
        """List what is loaded."""
        models = [{"name": f"{m}:latest", "size_vram": self.holds[m]} for m in sorted(self.loaded)]
        return JSONResponse({"models": models})

    async def generate(self, request: Request) -> Response:
        """Load a model, or drop it."""
        body = await request.json()
        model = body["model"].removesuffix(":latest")
        if model not in self._locks or self._mishap(0.02):
            return JSONResponse({"error": f"model {model!r} not found"}, 404)
        if body.get("keep_alive") == 0:
            await self._unload(model)
        elif not await self._load(model):
            return JSONResponse({"error": "llama runner process has terminated"}, 500)
        return JSONResponse({"model": model, "done": True, "response": ""})

    async def chat(self, request: Request) -> Response:
        """Answer for as long as was asked for, loading the model first when it is not there."""
        body = await request.json()
        model, about = body["model"], {n: body.get(n) for n in ("lease", "job", "call")}
        if self._mishap(0.03):
            return JSONResponse({"error": "something broke"}, 500)
        self.note("asked", model=model, found=model in self.loaded, **about)
        self.serving[model] += 1
        try:
            there = await self._load(model)
        except BaseException:
            await self._done(model)
            raise
        if not there:
            await self._done(model)
            return JSONResponse({"error": "llama runner process has terminated"}, 500)
        said = self._answer(model, body["seconds"], about)
        return StreamingResponse(said, media_type="application/x-ndjson")

    async def _answer(self, model: str, seconds: float, about: Spec) -> AsyncIterator[bytes]:
        try:
            until = time.time() + seconds
            while time.time() < until:
                yield b'{"message": {"content": "word "}, "done": false}\n'
                await asyncio.sleep(0.05)
            self.note("answered", model=model, **about)
            yield b'{"message": {"content": ""}, "done": true}\n'
        finally:
            await self._done(model)
            if self._mishap(0.05) and not self.serving[model] and model in self.loaded:
                self.note("dropped", model=model)
                self.loaded.discard(model)
                self._hold(model, 0)

    async def _done(self, model: str) -> None:
        async with self._idle:
            self.serving[model] -= 1
            self._idle.notify_all()

    async def _load(self, model: str) -> bool:
        """Load a model that is not there; say whether it is there now."""
        async with self._locks[model]:
            if model in self.loaded:
                return True
            size = self.spec["models"][model]
            self.note("loading", model=model, size=size)
            self._hold(model, size)
            slow = 8 if self._mishap(0.1) else 1
            await asyncio.sleep(self._random.uniform(0.3, 1.2) * slow)
            if self._mishap(0.08):
                self._hold(model, 0)
                self.note("failed", model=model)
                return False
            self.loaded.add(model)
            self.note("loaded", model=model)
            return True

    async def _unload(self, model: str) -> None:
        """Drop a model when its answers are over; the card is free a moment later."""
        self.note("unload", model=model, serving=self.serving[model])
        async with self._idle:
            await self._idle.wait_for(lambda: not self.serving[model])
        if model in self.loaded:
            self.loaded.discard(model)
            leaving = asyncio.create_task(self._leave(model))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    async def _leave(self, model: str) -> None:
        async with self._locks[model]:
            calm = (self.out / "calm").exists()
            await asyncio.sleep(3.0 if calm else self._random.choice((0.0, 0.5, 3.0)))
            self._hold(model, 0)
            self.note("left", model=model)

    async def live(self) -> None:
        """Serve until it is ended."""
        self.note("up", card=self.spec["card"])
        config = uvicorn.Config(
            self.app, host=self.spec["bind"], port=self.spec["port"], log_level="warning",
            ws="none", timeout_graceful_shutdown=1,
        )  # fmt: skip
        beat = asyncio.create_task(self._breathe())
        await uvicorn.Server(config).serve()
        beat.cancel()

    async def _breathe(self) -> None:
        with self._journal.with_suffix(".tick").open("wb", buffering=0) as tick:
            while True:
                os.pwrite(tick.fileno(), f"{time.time():.4f}".encode(), 0)
                await asyncio.sleep(_TICK_SECONDS)


async def main() -> None:
    """Serve what the first argument says."""
    await ModelServer(json.loads(sys.argv[1])).live()


if __name__ == "__main__":
    asyncio.run(main())
