"""Ollama: models on a machine of one's own, through langchain-ollama."""

import asyncio
import re
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import httpx

from nebula.http import ssl_context
from nebula.http_client import HttpClient
from nebula.llm.failure import AttemptFailed, Why
from nebula.llm.provider import Model, Prompt, by_status

if TYPE_CHECKING:
    from langchain_core.outputs import ChatGenerationChunk
    from langchain_ollama import ChatOllama

_UNREADABLE: Final = (ValueError, TypeError, AttributeError, KeyError)
"""What the client raises when a line is not its protocol (JSON and model errors included)."""


class OllamaProvider:
    """One Ollama server."""

    name = "ollama"

    def __init__(
        self,
        host: str,
        *,
        num_ctx: int,
        connect_seconds: float = 2.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Take the server's address; `num_ctx` is the context asked for, in tokens."""
        self._url = ollama_url(host)
        self._num_ctx = num_ctx
        self._transport = transport
        # Silence is limited by the router, which knows what a model was asked.
        self._timeout = httpx.Timeout(None, connect=connect_seconds)
        self._client = self._make_client(httpx.Timeout(10.0, connect=connect_seconds))
        self._chats: dict[str, ChatOllama] = {}
        self._shown: dict[str, Model] = {}

    @property
    def address(self) -> str:
        """Return where it is, without credentials."""
        return str(self._url.copy_with(userinfo=b""))

    def context(self, model: str) -> int | None:
        """Return the context we ask for: Ollama cuts longer prompts silently."""
        del model
        return self._num_ctx

    async def models(self) -> list[Model]:
        """List the installed models with what each can do."""
        listed = (await self._get("/api/tags")).get("models") or []
        gate = asyncio.Semaphore(4)

        async def described(entry: Mapping[str, Any]) -> Model:
            async with gate:
                return await self._described(entry)

        return list(await asyncio.gather(*(described(entry) for entry in listed)))

    async def stream(
        self, model: str, prompt: Prompt
    ) -> "AsyncGenerator[ChatGenerationChunk, None]":
        """Ask a model; every error of the client is translated to AttemptFailed."""
        if "langchain_ollama" not in sys.modules:
            await asyncio.to_thread(self.warm)
        import ollama

        options: dict[str, Any] = {"tools": list(prompt.tools)} if prompt.tools else {}
        stop = list(prompt.stop) if prompt.stop else None
        try:
            source = self._chat(model)._astream(list(prompt.messages), stop, **options)
            async with aclosing(source) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    yield chunk
        except ollama.ResponseError as error:
            raise by_status(error.status_code, error.error) from error
        except httpx.HTTPError as error:
            raise _unreachable(error) from error
        except _UNREADABLE as error:
            raise AttemptFailed(Why.FAILED, "Ollama sent something unreadable") from error

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """Turn texts into vectors."""
        body = {"model": model, "input": list(texts)}
        vectors = (await self._send("POST", "/api/embed", body)).get("embeddings")
        if not isinstance(vectors, list) or len(vectors) != len(texts):
            raise AttemptFailed(Why.FAILED, "Ollama sent something unreadable")
        return vectors

    def warm(self) -> None:
        """Import what asking needs."""
        import langchain_ollama  # noqa: F401

    async def aclose(self) -> None:
        """Close its connections."""
        await self._client.aclose()
        for chat in self._chats.values():
            await chat._async_client._client.aclose()
            chat._client._client.close()

    def _chat(self, model: str) -> "ChatOllama":
        if model not in self._chats:
            from langchain_ollama import ChatOllama

            chat = ChatOllama(
                model=model,
                base_url=str(self._url),
                num_ctx=self._num_ctx,
                client_kwargs={"verify": ssl_context(), "timeout": self._timeout},
            )
            # The one it made is not safe to cancel; nothing was sent with it yet.
            asking = chat._async_client
            asking._client = self._make_client(self._timeout, asking._client.headers)
            self._chats[model] = chat
        return self._chats[model]

    def _make_client(
        self, timeout: httpx.Timeout, headers: httpx.Headers | None = None
    ) -> HttpClient:
        return HttpClient(
            base_url=self._url,
            transport=self._transport,
            verify=ssl_context(),
            timeout=timeout,
            headers=headers,
            follow_redirects=True,
        )

    async def _get(self, path: str) -> dict[str, Any]:
        return await self._send("GET", path, None)

    async def _send(self, verb: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        try:
            answer = await self._client.request(verb, path, json=body)
            data = answer.json() if answer.content else {}
        except httpx.HTTPError as error:
            raise _unreachable(error) from error
        except ValueError as error:
            raise AttemptFailed(Why.FAILED, "Ollama sent something unreadable") from error
        if not isinstance(data, dict):
            raise AttemptFailed(Why.FAILED, "Ollama sent something unreadable")
        if answer.is_error:
            raise by_status(answer.status_code, str(data.get("error", "")))
        return data

    async def _described(self, entry: Mapping[str, Any]) -> Model:
        """Ask once per version of a model what it can do."""
        name = str(entry.get("name", ""))
        key = f"{name}@{entry.get('digest', '')}"
        if key not in self._shown:
            try:
                shown = await self._send("POST", "/api/show", {"model": name})
            except AttemptFailed as failure:
                if failure.why is Why.DOWN:
                    raise
                shown = {}  # it was removed meanwhile, or this one is damaged
            self._shown[key] = _model(name, entry.get("details") or {}, shown.get("capabilities"))
        return self._shown[key]


def ollama_url(host: str) -> httpx.URL:
    """Read OLLAMA_HOST as Ollama does: scheme and port may be missing, 0.0.0.0 is here."""
    text = host.strip() or "127.0.0.1"
    url = httpx.URL(text if "://" in text else f"http://{text}")
    if url.port is None and "://" not in text:
        url = url.copy_with(port=11434)
    if url.host in {"0.0.0.0", "::"}:  # noqa: S104 - what a server binds to, not what we bind to
        url = url.copy_with(host="127.0.0.1")
    return url


def _model(name: str, details: Mapping[str, Any], capabilities: object) -> Model:
    size = _billions(str(details.get("parameter_size", "")))
    if isinstance(capabilities, list):
        return Model(
            name=name,
            size=size,
            tools="tools" in capabilities,
            vision="vision" in capabilities,
            embedding="embedding" in capabilities,
        )
    embedding = "bert" in str(details.get("family", "")) or "embed" in name
    return Model(name=name, size=size, tools=not embedding, embedding=embedding)


def _billions(text: str) -> float:
    found = re.fullmatch(r"([\d.]+)\s*([BMK])", text.strip(), re.IGNORECASE)
    if not found:
        return 0.0
    return float(found[1]) * {"b": 1.0, "m": 1e-3, "k": 1e-6}[found[2].lower()]


def _unreachable(error: httpx.HTTPError) -> AttemptFailed:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.UnsupportedProtocol):
        return AttemptFailed(Why.DOWN, "Ollama does not answer")
    if isinstance(error, httpx.TimeoutException):
        return AttemptFailed(Why.STALLED, "Ollama took too long")
    return AttemptFailed(Why.FAILED, "The connection to Ollama broke")
