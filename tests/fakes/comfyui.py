"""A ComfyUI server that speaks its wire protocol, holds models, and can misbehave.

Wire facts: ComfyUI's server.py and execution.py. Queue and history live in its memory only; 200 may
carry `node_errors`; socket events go to one client and are never replayed; `/free` only raises
flags, which the worker reads when it next looks. Here the worker looks once per request for the
queue, the history or the statistics, so that nothing depends on time.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

GIB = 1024**3
# A transparent PNG of one pixel.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d4944415478da63"
    "fcffff3f030005fe02fea735819a0000000049454e44ae426082"
)
Handler = Callable[[Request], Awaitable[Response]]


@dataclass
class Prompt:
    """A prompt on its way through the queue."""

    number: int
    id: str
    graph: dict[str, Any]
    client: str | None
    extra: dict[str, Any]

    def entry(self) -> list[Any]:
        """Return it as /queue and /history show it."""
        return [self.number, self.id, self.graph, self.extra, list(self.graph)]


@dataclass
class State:
    """What a test may set and look at."""

    checkpoints: dict[str, int]
    """File name → bytes of VRAM."""
    vram_total: int = 12 * GIB
    held: int = 0
    """Bytes PyTorch holds for models."""
    elsewhere: Callable[[], int] = lambda: 0
    """Bytes other programs hold on the same card."""
    running: Prompt | None = None
    pending: list[Prompt] = field(default_factory=list)
    history: dict[str, dict[str, Any]] = field(default_factory=dict)
    steps: int = 1
    """How many looks a prompt runs; None-like large numbers keep it running."""
    free_flag: bool = False
    frees: int = 0
    interrupts: int = 0

    ignores_free: bool = False
    """The flag is raised and nobody reads it."""
    lies: int = 0
    """Bytes that stay on the card although PyTorch says that it holds nothing."""
    errors_in_200: bool = False
    fails_with: str | None = None
    dies_mid_run: bool = False
    """Restart when a prompt runs: queue and history are lost."""
    down: int | None = None
    cpu: bool = False
    folders: dict[str, list[str]] | None = None
    """Other folders of models; None = an old version that does not tell."""


class FakeComfyUI(Starlette):
    """The server."""

    def __init__(self, checkpoints: dict[str, int] | None = None, **more: Any) -> None:
        files = {"sd_xl_base_1.0.safetensors": 7 * GIB} if checkpoints is None else checkpoints
        self.server = State(checkpoints=files, **more)
        self._left = 0
        self._number = 0
        self._clients: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        routes: list[tuple[str, Handler, str]] = [
            ("/models", self._folders, "GET"),
            ("/models/{folder}", self._folder, "GET"),
            ("/system_stats", self._stats, "GET"),
            ("/queue", self._queue, "GET"),
            ("/queue", self._edit_queue, "POST"),
            ("/prompt", self._submit, "POST"),
            ("/history", self._histories, "GET"),
            ("/history/{id}", self._history, "GET"),
            ("/free", self._free, "POST"),
            ("/interrupt", self._interrupt, "POST"),
            ("/object_info", self._nodes, "GET"),
            ("/object_info/{node}", self._nodes, "GET"),
            ("/view", self._view, "GET"),
        ]
        super().__init__(
            routes=[
                *(Route(path, self._guarded(fn), methods=[verb]) for path, fn, verb in routes),
                WebSocketRoute("/ws", self._socket),
            ]
        )

    @property
    def on_card(self) -> int:
        """Return what it really holds on the card."""
        return self.server.held + self.server.lies

    def restart(self) -> None:
        """Lose what is in memory, as a crash does."""
        self.server.running = None
        self.server.pending.clear()
        self.server.history.clear()
        self.server.held = 0

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            if self.server.down is not None:
                return JSONResponse({"error": "broken"}, self.server.down)
            return await handler(request)

        return guarded

    def _look(self) -> None:
        """Let the worker look once at its queue and its flags."""
        state = self.server
        if state.running is not None:
            self._left -= 1
            if state.dies_mid_run:
                state.dies_mid_run = False
                self.restart()
            elif self._left <= 0:
                self._finish(state.running)
        elif state.pending:
            state.running, self._left = state.pending.pop(0), state.steps
            self._tell("execution_start", state.running)
        elif state.free_flag and not state.ignores_free:
            state.free_flag = False
            state.held = 0

    def _finish(self, prompt: Prompt) -> None:
        state = self.server
        state.running = None
        outputs: dict[str, Any] = {}
        if state.fails_with is not None:
            messages = [["execution_error", {"exception_message": state.fails_with}]]
            status = {"status_str": "error", "completed": False, "messages": messages}
            self._tell("execution_error", prompt, exception_message=state.fails_with)
        else:
            for node in prompt.graph.values():
                if node.get("class_type") == "CheckpointLoaderSimple":
                    state.held = state.checkpoints[node["inputs"]["ckpt_name"]]
            outputs = {
                key: {"images": [{"filename": f"{key}.png", "subfolder": "", "type": "temp"}]}
                for key, node in prompt.graph.items()
                if node.get("class_type") in {"PreviewImage", "SaveImage"}
            }
            status = {"status_str": "success", "completed": True, "messages": []}
            self._tell("executing", prompt, node=None)
            self._tell("execution_success", prompt)
        state.history[prompt.id] = {"prompt": prompt.entry(), "outputs": outputs, "status": status}

    def _tell(self, kind: str, prompt: Prompt, **more: Any) -> None:
        inbox = self._clients.get(prompt.client or "")
        if inbox is not None:
            inbox.put_nowait({"type": kind, "data": {"prompt_id": prompt.id, **more}})

    async def _stats(self, _: Request) -> Response:
        self._look()
        state = self.server
        free = max(0, state.vram_total - self.on_card - state.elsewhere())
        card = {
            "name": "cuda:0 NVIDIA GeForce RTX 3060 : cudaMallocAsync",
            "type": "cuda",
            "index": 0,
            "vram_total": state.vram_total,
            "vram_free": free,
            "torch_vram_total": state.held,
            "torch_vram_free": 0,
        }
        processor = {"name": "cpu", "type": "cpu", "index": None, "vram_total": 32 * GIB}
        system = {"os": "posix", "comfyui_version": "0.3.60", "argv": ["main.py"]}
        return JSONResponse({"system": system, "devices": [processor if state.cpu else card]})

    async def _queue(self, _: Request) -> Response:
        self._look()
        running = [self.server.running.entry()] if self.server.running else []
        waiting = [p.entry() for p in self.server.pending]
        return JSONResponse({"queue_running": running, "queue_pending": waiting})

    async def _edit_queue(self, request: Request) -> Response:
        body = await request.json()
        gone = set(body.get("delete", []))
        keep = [] if body.get("clear") else [p for p in self.server.pending if p.id not in gone]
        self.server.pending = keep
        return Response()

    async def _submit(self, request: Request) -> Response:
        body = await request.json()
        graph = body.get("prompt") or {}
        outputs = [
            n for n in graph.values() if n.get("class_type") in {"PreviewImage", "SaveImage"}
        ]
        if not outputs:
            error = {"type": "prompt_no_outputs", "message": "Prompt has no outputs"}
            return JSONResponse({"error": error, "node_errors": {}}, 400)
        problems = self._problems(graph)
        if problems and not self.server.errors_in_200:
            error = {"type": "prompt_outputs_failed_validation", "message": "failed validation"}
            return JSONResponse({"error": error, "node_errors": problems}, 400)
        self._number += 1
        key = body.get("prompt_id") or str(uuid.uuid4())
        extra = body.get("extra_data", {})
        self.server.pending.append(Prompt(self._number, key, graph, body.get("client_id"), extra))
        return JSONResponse({"prompt_id": key, "number": self._number, "node_errors": problems})

    def _problems(self, graph: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {"9": {"errors": []}} if self.server.errors_in_200 else {}
        for key, node in graph.items():
            name = node.get("inputs", {}).get("ckpt_name")
            if (
                node["class_type"] == "CheckpointLoaderSimple"
                and name not in self.server.checkpoints
            ):
                said = {"type": "value_not_in_list", "message": "Value not in list"}
                found[key] = {"errors": [said], "class_type": node["class_type"]}
        return found

    async def _histories(self, _: Request) -> Response:
        self._look()
        return JSONResponse(self.server.history)

    async def _history(self, request: Request) -> Response:
        self._look()
        key = request.path_params["id"]
        found = self.server.history.get(key)
        return JSONResponse({} if found is None else {key: found})

    async def _free(self, request: Request) -> Response:
        body = await request.json()
        self.server.frees += 1
        self.server.free_flag = bool(body.get("unload_models") or body.get("free_memory"))
        return Response()

    async def _interrupt(self, request: Request) -> Response:
        self.server.interrupts += 1
        if self.server.running is not None:
            prompt, self.server.running = self.server.running, None
            messages = [["execution_interrupted", {"prompt_id": prompt.id}]]
            status = {"status_str": "error", "completed": False, "messages": messages}
            self.server.history[prompt.id] = {"outputs": {}, "status": status}
        return Response()

    async def _nodes(self, request: Request) -> Response:
        files = list(self.server.checkpoints)
        required = {"ckpt_name": [files, {"tooltip": "The checkpoint to load"}]}
        every = {"CheckpointLoaderSimple": {"input": {"required": required}}}
        node = request.path_params.get("node")
        return JSONResponse(
            every if node is None else {k: v for k, v in every.items() if k == node}
        )

    async def _folders(self, _: Request) -> Response:
        if self.server.folders is None:
            return Response(status_code=404)
        return JSONResponse(["checkpoints", *self.server.folders, "configs"])

    async def _folder(self, request: Request) -> Response:
        name = request.path_params["folder"]
        if name == "checkpoints":
            return JSONResponse(list(self.server.checkpoints))
        return JSONResponse((self.server.folders or {}).get(name, []))

    async def _view(self, _: Request) -> Response:
        return Response(PNG, media_type="image/png")

    async def _socket(self, socket: WebSocket) -> None:
        await socket.accept()
        name = socket.query_params.get("clientId") or uuid.uuid4().hex
        inbox = self._clients.setdefault(name, asyncio.Queue())
        remaining = {"status": {"exec_info": {"queue_remaining": len(self.server.pending)}}}
        try:
            await socket.send_json({"type": "status", "data": {**remaining, "sid": name}})
            while True:
                await socket.send_json(await inbox.get())
        except WebSocketDisconnect:
            pass
        finally:
            self._clients.pop(name, None)
