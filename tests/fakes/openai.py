"""A server that speaks OpenAI's chat-completions protocol (streamed or not), and can misbehave.

Wire facts: https://platform.openai.com/docs/api-reference/chat; errors are
`{"error": {"message", "type", "param", "code"}}`, in a stream as one more `data:` event.
"""

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.fakes.ollama import vector_of
from tests.fakes.scripted import Fault, ModelRequest, Policy, Reply, ToolUse, echo


@dataclass
class State:
    """What a test may set and look at."""

    models: tuple[str, ...] = ("gpt-test",)
    key: str = ""
    """The only API key accepted; any, when empty."""
    down: int | None = None
    """Answer everything with this status."""
    requests: list[ModelRequest] = field(default_factory=list)
    disconnects: int = 0
    """How many streams the client left before they ended."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at the first of them."""


class FakeOpenAI(Starlette):
    """The server; `policy` (a Script or a function) decides what its model says."""

    def __init__(
        self, policy: Policy = echo, *, models: tuple[str, ...] = ("gpt-test",), key: str = ""
    ) -> None:
        self.policy = policy
        self.server = State(models=models, key=key)
        super().__init__(
            routes=[
                Route("/v1/models", self._models),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/embeddings", self._embeddings, methods=["POST"]),
            ]
        )

    async def _models(self, request: Request) -> Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        data = [
            {"id": m, "object": "model", "created": 0, "owned_by": "x"} for m in self.server.models
        ]
        return JSONResponse({"object": "list", "data": data})

    async def _embeddings(self, request: Request) -> Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        body = await request.json()
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        packed = body.get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": i, "embedding": _packed(v) if packed else v}
            for i, v in enumerate(vector_of(str(text)) for text in texts)
        ]
        usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        return JSONResponse(
            {"object": "list", "data": data, "model": body["model"], "usage": usage}
        )

    async def _chat(self, request: Request) -> Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        body = await request.json()
        if body["model"] not in self.server.models:
            problem = f"The model `{body['model']}` does not exist"
            return _error(404, problem, "model_not_found")
        asked = ModelRequest(
            path="/v1/chat/completions",
            model=body["model"],
            messages=body["messages"],
            tools=[t["function"]["name"] for t in body.get("tools") or []],
            body=body,
            headers=dict(request.headers),
        )
        self.server.requests.append(asked)
        reply = self.policy(asked)
        failed = _failure(reply)
        if failed is not None:
            return failed
        if body.get("stream"):
            return StreamingResponse(self._stream(body, reply), media_type="text/event-stream")
        if reply.fault is Fault.GARBAGE:
            return Response('{"id": "cut off in the mid', media_type="application/json")
        if reply.fault is not None:
            return StreamingResponse(self._misbehave(reply), media_type="application/json")
        return JSONResponse(_completion(body, reply))

    def _refusal(self, request: Request) -> Response | None:
        if self.server.down is not None:
            return _error(self.server.down, "The server is overloaded", "server_error")
        wanted = self.server.key
        if wanted and request.headers.get("authorization") != f"Bearer {wanted}":
            return _error(401, "Incorrect API key provided.", "invalid_api_key")
        return None

    async def _stream(self, body: dict[str, Any], reply: Reply) -> AsyncIterator[bytes]:
        try:
            for chunk in _chunks(body, reply):
                yield _event(chunk)
            async for rest in self._misbehave(reply):
                yield rest
            if reply.fault is None:
                yield b"data: [DONE]\n\n"
        except asyncio.CancelledError:
            self.server.disconnects += 1
            self.server.left.set()
            raise

    async def _misbehave(self, reply: Reply) -> AsyncIterator[bytes]:
        if reply.fault is Fault.GARBAGE:
            yield b'data: {"id": "cut off in the mid\n\n'
        elif reply.fault is Fault.IN_STREAM:
            yield _event(
                {"error": {"message": reply.message, "type": "server_error", "code": None}}
            )
        elif reply.fault is Fault.DROP:
            yield b""
            raise ConnectionResetError("the script cuts the connection")
        elif reply.fault is Fault.STALL:
            await asyncio.Event().wait()


def _failure(reply: Reply) -> Response | None:
    if reply.fault is Fault.STATUS:
        code = {429: "rate_limit_exceeded", 401: "invalid_api_key"}.get(
            reply.status, "server_error"
        )
        return _error(reply.status, reply.message, code, reply.retry_after)
    if reply.fault is Fault.OVERFLOW:
        problem = "This model's maximum context length is 8192 tokens. Please reduce the messages."
        return _error(400, problem, "context_length_exceeded")
    if reply.fault is Fault.OUT_OF_MEMORY:
        return _error(500, "CUDA out of memory", "server_error")
    return None


def _error(status: int, message: str, code: str, retry_after: str | None = None) -> Response:
    kind = "invalid_request_error" if status < 500 else "server_error"
    headers = {"Retry-After": retry_after} if retry_after else None
    error = {"message": message, "type": kind, "param": None, "code": code}
    return JSONResponse({"error": error}, status, headers)


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _usage(body: dict[str, Any], reply: Reply) -> dict[str, int]:
    """Count a token per four characters sent, and per piece said."""
    sent = len(json.dumps(body["messages"])) + len(json.dumps(body.get("tools") or ""))
    said = len(reply.pieces) + 8 * len(reply.calls)
    prompt = max(1, sent // 4)
    return {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}


def _tool_call(index: int, use: ToolUse) -> dict[str, Any]:
    function = {"name": use.name, "arguments": use.raw}
    return {"id": f"call_{index}_{use.name}", "type": "function", "function": function}


def _completion(body: dict[str, Any], reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if reply.calls:
        message["tool_calls"] = [_tool_call(i, use) for i, use in enumerate(reply.calls)]
    reason = "tool_calls" if reply.calls else "stop"
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": _usage(body, reply),
    }


def _chunks(body: dict[str, Any], reply: Reply) -> list[dict[str, Any]]:
    """Build the stream's chunks; tool arguments come in two halves, as the real one does."""
    start = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0}
    start["model"] = body["model"]

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {**start, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

    out = [chunk({"role": "assistant", "content": ""})]
    out += [chunk({"content": piece}) for piece in reply.pieces]
    for index, use in enumerate(reply.calls):
        whole = _tool_call(index, use)
        half = len(use.raw) // 2
        first = {"name": use.name, "arguments": use.raw[:half]}
        out.append(chunk({"tool_calls": [{**whole, "index": index, "function": first}]}))
        rest = {"index": index, "function": {"arguments": use.raw[half:]}}
        out.append(chunk({"tool_calls": [rest]}))
    if reply.fault is not None:
        return out
    out.append(chunk({}, "tool_calls" if reply.calls else "stop"))
    if (body.get("stream_options") or {}).get("include_usage"):
        out.append({**start, "choices": [], "usage": _usage(body, reply)})
    return out
