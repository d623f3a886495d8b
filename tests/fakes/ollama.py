"""An Ollama server that speaks its wire protocol, remembers what is loaded, and can misbehave.

Wire facts: https://github.com/ollama/ollama/blob/main/docs/api.md (NDJSON streams, errors as
`{"error": …}` with a status, or as a line of a stream that began with 200).
"""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.fakes.scripted import Fault, ModelRequest, Policy, Reply, echo

GIB = 1024**3
WHEN = "2025-01-01T00:00:00.000000Z"
Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Installed:
    """A model on the server's disk."""

    size: int
    parameters: str = "8.0B"
    capabilities: tuple[str, ...] = ("completion", "tools")
    family: str = "llama"
    context_length: int = 131072


LLAMA_3B = Installed(int(2.0 * GIB), "3.2B")
LLAMA_8B = Installed(int(4.9 * GIB), "8.0B")
LLAVA = Installed(int(4.7 * GIB), "7.2B", ("completion", "vision"), "llava")
NOMIC = Installed(int(0.3 * GIB), "137M", ("embedding",), "nomic-bert", 2048)


@dataclass
class Pulls:
    """How pulls go, and what goes wrong: each fault so many times, then all is well."""

    layers: tuple[tuple[str, int], ...] = (("sha256:aa", LLAMA_3B.size), ("sha256:bb", 4096))
    done: dict[str, int] = field(default_factory=dict)
    """Digest → bytes on the disk, kept when a pull breaks off."""
    drops: int = 0
    stalls: int = 0
    unfinished: int = 0
    """End the stream without a last word."""
    errors: list[str] = field(default_factory=list)
    """Error lines of an answer that began with 200."""
    statuses: list[int] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    stalled: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class State:
    """What a test may set and look at."""

    installed: dict[str, Installed]
    loaded: dict[str, int] = field(default_factory=dict)
    """Model name → bytes of VRAM."""
    vram_total: int | None = None
    lingering: int = 0
    """How many /api/ps answers still show a model after it was unloaded (a lying server)."""
    down: int | None = None
    """Answer everything with this status."""
    requests: list[ModelRequest] = field(default_factory=list)
    disconnects: int = 0
    """How many streams the client left before they ended."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at the first of them."""
    pulls: Pulls = field(default_factory=Pulls)
    deleted: list[str] = field(default_factory=list)


class FakeOllama(Starlette):
    """The server; `policy` (a Script or a function) decides what its model says."""

    def __init__(
        self,
        policy: Policy = echo,
        *,
        installed: dict[str, Installed] | None = None,
        loaded: dict[str, int] | None = None,
        vram_total: int | None = None,
    ) -> None:
        self.policy = policy
        self.server = State(
            installed={"llama3.2:3b": LLAMA_3B, "llama3.1:8b": LLAMA_8B}
            if installed is None
            else installed,
            loaded=dict(loaded or {}),
            vram_total=vram_total,
        )
        self._leaving: dict[str, list[int]] = {}
        routes: list[tuple[str, Handler, str]] = [
            ("/", self._root, "GET"),
            ("/api/version", self._version, "GET"),
            ("/api/tags", self._tags, "GET"),
            ("/api/ps", self._ps, "GET"),
            ("/api/show", self._show, "POST"),
            ("/api/pull", self._pull, "POST"),
            ("/api/delete", self._delete, "DELETE"),
            ("/api/chat", self._chat, "POST"),
            ("/api/generate", self._generate, "POST"),
            ("/api/embed", self._embed, "POST"),
        ]
        super().__init__(
            routes=[Route(path, self._guarded(fn), methods=[verb]) for path, fn, verb in routes]
        )

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            if self.server.down is not None:
                return JSONResponse({"error": "unavailable"}, self.server.down)
            return await handler(request)

        return guarded

    async def _root(self, _: Request) -> Response:
        return Response("Ollama is running")

    async def _version(self, _: Request) -> Response:
        return JSONResponse({"version": "0.11.0"})

    async def _tags(self, _: Request) -> Response:
        models = [
            {"name": name, "model": name, "modified_at": WHEN, **_described(model)}
            for name, model in self.server.installed.items()
        ]
        return JSONResponse({"models": models})

    async def _ps(self, _: Request) -> Response:
        shown = dict(self.server.loaded)
        for name, rest in list(self._leaving.items()):
            shown.setdefault(name, rest[1])
            rest[0] -= 1
            if rest[0] <= 0:
                del self._leaving[name]
        models = [
            {"name": n, "model": n, "size": v, "size_vram": v, "expires_at": WHEN, "digest": n}
            for n, v in shown.items()
        ]
        return JSONResponse({"models": models})

    async def _show(self, request: Request) -> Response:
        name = (await request.json()).get("model", "")
        model = self._find(name)
        if model is None:
            return _no_model(name)
        info = {f"{model.family}.context_length": model.context_length}
        described = _described(model)
        return JSONResponse(
            {
                "modelfile": "",
                "details": described["details"],
                "model_info": {"general.architecture": model.family, **info},
                "capabilities": list(model.capabilities),
                "license": "LLAMA COMMUNITY LICENSE AGREEMENT\nVersion 3\n\nYou may …",
            }
        )

    async def _pull(self, request: Request) -> Response:
        body = await request.json()
        name = body.get("model", "")
        pulls = self.server.pulls
        pulls.asked.append(name)
        if pulls.statuses:
            return JSONResponse({"error": "the registry is away"}, pulls.statuses.pop(0))
        if body.get("stream", True) is False:
            if name.startswith("missing"):
                return JSONResponse({"error": _NO_FILE}, 500)
            self.server.installed[name] = LLAMA_3B
            return JSONResponse({"status": "success"})
        return StreamingResponse(self._pulling(name), media_type="application/x-ndjson")

    async def _pulling(self, name: str) -> AsyncIterator[bytes]:
        pulls = self.server.pulls
        try:
            yield _line({"status": "pulling manifest"})
            if name.startswith("missing"):
                yield _line({"error": _NO_FILE})
                return
            for digest, total in pulls.layers:
                async for line in self._layer(digest, total):
                    yield line
                    if line.startswith(b'{"error"'):
                        return
            if pulls.unfinished:
                pulls.unfinished -= 1
                return
            self.server.installed[name if ":" in name else f"{name}:latest"] = LLAMA_3B
            for status in ("verifying sha256 digest", "writing manifest", "success"):
                yield _line({"status": status})
        except asyncio.CancelledError:
            self.server.disconnects += 1
            self.server.left.set()
            raise

    async def _layer(self, digest: str, total: int) -> AsyncIterator[bytes]:
        pulls = self.server.pulls
        head: dict[str, Any] = {"status": f"pulling {digest[-2:]}", "digest": digest}
        done = pulls.done.get(digest, 0)
        yield _line({**head, "total": total, **({"completed": done} if done else {})})
        while done < total:
            done = min(total, done + total // 2)
            pulls.done[digest] = done
            yield _line({**head, "total": total, "completed": done})
            if pulls.drops:
                pulls.drops -= 1
                raise ConnectionResetError("the fake cuts the connection")
            if pulls.stalls:
                pulls.stalls -= 1
                pulls.stalled.set()
                await asyncio.Event().wait()
            if pulls.errors:
                yield _line({"error": pulls.errors.pop(0)})
                return

    async def _delete(self, request: Request) -> Response:
        name = (await request.json()).get("model", "")
        found = next((n for n in (name, f"{name}:latest") if n in self.server.installed), None)
        if found is None:
            return _no_model(name)
        del self.server.installed[found]
        self.server.loaded.pop(found, None)
        self.server.deleted.append(found)
        return Response()

    async def _embed(self, request: Request) -> Response:
        body = await request.json()
        if self._find(body["model"]) is None:
            return _no_model(body["model"])
        refusal = self._load(body["model"])
        if refusal is not None:
            return refusal
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        vectors = [vector_of(text) for text in texts]
        return JSONResponse(
            {"model": body["model"], "embeddings": vectors, "prompt_eval_count": len(texts)}
        )

    async def _generate(self, request: Request) -> Response:
        body = await request.json()
        name = body.get("model", "")
        if self._find(name) is None:
            return _no_model(name)
        if body.get("keep_alive") in (0, "0", "0s"):
            self._unload(name)
            return JSONResponse(_done(name, "unload", response=""))
        if "completion" not in self._capabilities(name):
            return JSONResponse({"error": f'"{name}" does not support generate'}, 400)
        refusal = self._load(name)
        if refusal is not None:
            return refusal
        if not body.get("prompt"):
            return JSONResponse(_done(name, "load", response=""))
        reply = self._ask(
            "/api/generate", request, body, [{"role": "user", "content": body["prompt"]}]
        )
        return self._answer(request, body, reply, chat=False)

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        name = body.get("model", "")
        if self._find(name) is None:
            return _no_model(name)
        if body.get("keep_alive") in (0, "0", "0s") and not body.get("messages"):
            self._unload(name)
            return JSONResponse(_done(name, "unload", message={"role": "assistant", "content": ""}))
        model = self._find(name)
        if body.get("tools") and model is not None and "tools" not in model.capabilities:
            problem = f"registry.ollama.ai/library/{name} does not support tools"
            return JSONResponse({"error": problem}, 400)
        refusal = self._load(name)
        if refusal is not None:
            return refusal
        reply = self._ask("/api/chat", request, body, body.get("messages", []))
        return self._answer(request, body, reply, chat=True)

    def _ask(
        self, path: str, request: Request, body: dict[str, Any], messages: list[dict[str, Any]]
    ) -> Reply:
        asked = ModelRequest(
            path=path,
            model=body["model"],
            messages=messages,
            tools=[t["function"]["name"] for t in body.get("tools") or []],
            body=body,
            headers=dict(request.headers),
        )
        self.server.requests.append(asked)
        return self.policy(asked)

    def _answer(
        self, request: Request, body: dict[str, Any], reply: Reply, *, chat: bool
    ) -> Response:
        name = body["model"]
        if reply.fault is Fault.STATUS:
            headers = {"Retry-After": reply.retry_after} if reply.retry_after else None
            return JSONResponse({"error": reply.message}, reply.status, headers)
        if reply.fault is Fault.OVERFLOW:
            problem = "the input length exceeds the context length"
            return JSONResponse({"error": problem}, 400)
        if reply.fault is Fault.OUT_OF_MEMORY:
            return _no_memory()
        for use in reply.calls:
            if isinstance(use.arguments, str):
                problem = f"error parsing tool call: raw='{use.raw}', err=invalid character"
                return JSONResponse({"error": problem}, 500)
        lines = _lines(name, reply, body, chat=chat)
        if body.get("stream", True) is False and reply.fault is None:
            return JSONResponse(_merged(lines, chat=chat))
        return StreamingResponse(
            self._stream(request, lines, reply), media_type="application/x-ndjson"
        )

    async def _stream(
        self, request: Request, lines: list[dict[str, Any]], reply: Reply
    ) -> AsyncIterator[bytes]:
        try:
            async for line in _ndjson(lines):
                yield line
            if reply.fault is Fault.GARBAGE:
                yield b'{"model": "cut off in the mid\n'
            elif reply.fault is Fault.IN_STREAM:
                yield json.dumps({"error": reply.message}).encode() + b"\n"
            elif reply.fault is Fault.DROP:
                raise ConnectionResetError("the script cuts the connection")
            elif reply.fault is Fault.STALL:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.server.disconnects += 1
            self.server.left.set()
            raise

    def _find(self, name: str) -> Installed | None:
        return self.server.installed.get(name) or self.server.installed.get(f"{name}:latest")

    def _capabilities(self, name: str) -> tuple[str, ...]:
        model = self._find(name)
        return model.capabilities if model is not None else ()

    def _load(self, name: str) -> Response | None:
        if name in self.server.loaded:
            return None
        model = self._find(name)
        assert model is not None
        total = self.server.vram_total
        if total is not None and sum(self.server.loaded.values()) + model.size > total:
            return _no_memory()
        self.server.loaded[name] = model.size
        return None

    def _unload(self, name: str) -> None:
        size = self.server.loaded.pop(name, None)
        if size is not None and self.server.lingering:
            self._leaving[name] = [self.server.lingering, size]


_NO_FILE = "pull model manifest: file does not exist"


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode() + b"\n"


def _described(model: Installed) -> dict[str, Any]:
    details = {
        "parent_model": "",
        "format": "gguf",
        "family": model.family,
        "families": [model.family],
        "parameter_size": model.parameters,
        "quantization_level": "Q4_K_M",
    }
    digest = f"{hash((model.size, model.parameters)) & (2**64 - 1):016x}"
    return {"size": model.size, "digest": digest, "details": details}


def _no_model(name: str) -> Response:
    return JSONResponse({"error": f"model '{name}' not found"}, 404)


def _no_memory() -> Response:
    problem = "model requires more system memory (5.6 GiB) than is available (2.1 GiB)"
    return JSONResponse({"error": problem}, 500)


def _done(name: str, reason: str, **more: Any) -> dict[str, Any]:
    return {"model": name, "created_at": WHEN, "done": True, "done_reason": reason, **more}


def _lines(name: str, reply: Reply, body: dict[str, Any], *, chat: bool) -> list[dict[str, Any]]:
    """Build the NDJSON lines of a reply; without its last line when a fault follows."""
    start = {"model": name, "created_at": WHEN}
    lines: list[dict[str, Any]] = []
    for piece in reply.pieces:
        said = {"message": {"role": "assistant", "content": piece}} if chat else {"response": piece}
        lines.append({**start, **said, "done": False})
    for index, use in enumerate(reply.calls):
        function = {"index": index, "name": use.name, "arguments": dict(use.arguments)}  # type: ignore[arg-type]
        message = {"role": "assistant", "content": "", "tool_calls": [{"function": function}]}
        lines.append({**start, "message": message, "done": False})
    if reply.fault is not None:
        return lines
    prompt = json.dumps(body.get("messages") or body.get("prompt") or "")
    counts = {
        "total_duration": 5_000_000,
        "load_duration": 1_000_000,
        "prompt_eval_count": max(1, (len(prompt) + len(json.dumps(body.get("tools") or ""))) // 4),
        "prompt_eval_duration": 1_000_000,
        "eval_count": len(reply.pieces) + 8 * len(reply.calls),
        "eval_duration": 1_000_000,
    }
    ending = {"message": {"role": "assistant", "content": ""}} if chat else {"response": ""}
    return [*lines, _done(name, "stop", **ending, **counts)]


def _merged(lines: list[dict[str, Any]], *, chat: bool) -> dict[str, Any]:
    whole = dict(lines[-1])
    if not chat:
        whole["response"] = "".join(line["response"] for line in lines)
        return whole
    messages = [line["message"] for line in lines]
    tool_calls = [use for message in messages for use in message.get("tool_calls", [])]
    whole["message"] = {"role": "assistant", "content": "".join(m["content"] for m in messages)}
    if tool_calls:
        whole["message"]["tool_calls"] = tool_calls
    return whole


async def _ndjson(lines: list[dict[str, Any]]) -> AsyncIterator[bytes]:
    for line in lines:
        yield json.dumps(line).encode() + b"\n"


def vector_of(text: str, dimension: int = 768) -> list[float]:
    """Place a text by its letters, so that equal texts meet and different ones part."""
    raw = [0.0] * dimension
    for position, letter in enumerate(text):
        raw[(ord(letter) * 31 + position) % dimension] += 1.0
    norm = math.sqrt(sum(v * v for v in raw)) or 1.0
    return [v / norm for v in raw]
