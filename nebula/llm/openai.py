"""OpenAI, or anything that speaks its API, through langchain-openai."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import httpx
from pydantic import SecretStr

from nebula.http import USER_AGENT, ssl_context
from nebula.http_client import HttpClient
from nebula.llm.failure import AttemptFailed, Why
from nebula.llm.provider import Model, Prompt, by_status

if TYPE_CHECKING:
    from langchain_core.outputs import ChatGenerationChunk
    from langchain_openai import ChatOpenAI

_DONE: Final[dict[str, Any]] = {}
_LAST_BYTES: Final = 0.25
_UNREADABLE: Final = (ValueError, TypeError, AttributeError, KeyError)
_NOT_CHAT: Final = (
    "embed", "whisper", "tts", "dall-e", "image", "moderation", "realtime", "audio",
    "transcribe", "davinci", "babbage", "rerank", "sora",
)  # fmt: skip


class OpenAIProvider:
    """One server that speaks OpenAI's chat completions."""

    name = "openai"

    def __init__(
        self,
        base_url: str,
        key: SecretStr,
        *,
        connect_seconds: float = 2.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Take the server's address and key; a server of one's own may need no key."""
        self._url = httpx.URL(base_url)
        self._key = key
        # Silence is limited by the router, which knows what a model was asked.
        self._http = HttpClient(
            transport=transport,
            verify=ssl_context(),
            timeout=httpx.Timeout(None, connect=connect_seconds),
            headers={"User-Agent": USER_AGENT},
        )
        # ChatOpenAI wants clients, and would make more TLS contexts for them.
        self._never_used = httpx.Client(verify=ssl_context())
        self._chats: dict[str, ChatOpenAI] = {}

    @property
    def address(self) -> str:
        """Return where it is, without credentials."""
        return str(self._url.copy_with(userinfo=b""))

    def context(self, model: str) -> int | None:
        """Return nothing: the server knows and refuses what does not fit."""
        del model
        return None

    async def models(self) -> list[Model]:
        """List the models this key may use."""
        data = await self._send("GET", "models", None)
        listed = data.get("data")
        if not isinstance(listed, list):
            raise AttemptFailed(Why.FAILED, "The provider sent something unreadable")
        return [_model(str(entry.get("id", ""))) for entry in listed if isinstance(entry, dict)]

    async def stream(
        self, model: str, prompt: Prompt
    ) -> "AsyncGenerator[ChatGenerationChunk, None]":
        """Ask a model; every error of the client is translated to AttemptFailed.

        langchain-openai turns messages into the request and events into chunks. The SDK between
        them is left out: walking its types costs more CPU than everything else in a call.
        """
        if "langchain_openai" not in sys.modules:
            await asyncio.to_thread(self.warm)
        try:
            chat = self._chat(model)
            body = json.dumps(_request(chat, prompt), ensure_ascii=False).encode()
            async with aclosing(self._events(body)) as events:
                async for event in events:
                    chunk = _chunk(chat, event)
                    if chunk is not None:
                        yield chunk
        except httpx.HTTPError as error:
            raise _broken(error) from error
        except _UNREADABLE as error:
            raise AttemptFailed(Why.FAILED, "The provider sent something unreadable") from error

    async def _events(self, body: bytes) -> AsyncGenerator[dict[str, Any], None]:
        """Post a request and yield the stream's events until it says that it is complete."""
        headers = {**self._bearer(), "Content-Type": "application/json"}
        url = f"{str(self._url).rstrip('/')}/chat/completions"
        async with self._http.stream("POST", url, content=body, headers=headers) as response:
            if response.is_error:
                raise _refusal(response.status_code, await response.aread(), response.headers)
            if response.headers.get("content-type", "").startswith("application/json"):
                yield _as_event(json.loads(await response.aread()))
                return
            complete = False
            arrivals = _arrivals(response)
            async for events in arrivals:
                for event in _together(events):
                    if event is _DONE:
                        await _drain(arrivals)
                        return
                    if event.get("error"):
                        raise _refusal(500, json.dumps(event).encode(), response.headers)
                    complete = complete or any(c.get("finish_reason") for c in event["choices"])
                    yield event
            if not complete:
                raise AttemptFailed(Why.FAILED, "The connection to the provider broke")

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """Turn texts into vectors."""
        body = {"model": model, "input": list(texts), "encoding_format": "float"}
        data = (await self._send("POST", "embeddings", body)).get("data")
        if not isinstance(data, list) or len(data) != len(texts):
            raise AttemptFailed(Why.FAILED, "The provider sent something unreadable")
        return [entry["embedding"] for entry in sorted(data, key=lambda entry: entry["index"])]

    def warm(self) -> None:
        """Import what asking needs."""
        import langchain_openai  # noqa: F401

    async def aclose(self) -> None:
        """Close its connections."""
        await self._http.aclose()
        self._never_used.close()

    def _chat(self, model: str) -> "ChatOpenAI":
        if model not in self._chats:
            from langchain_openai import ChatOpenAI

            self._chats[model] = ChatOpenAI(
                model=model,
                base_url=str(self._url),
                api_key=self._secret(),
                http_async_client=self._http,
                http_client=self._never_used,
                max_retries=0,
                stream_usage=True,
                stream_chunk_timeout=None,
                use_responses_api=False,
            )
        return self._chats[model]

    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._secret().get_secret_value()}"}

    def _secret(self) -> SecretStr:
        # The SDK wants some key, and would read one of the environment for another server.
        return self._key if self._key.get_secret_value() else SecretStr("none")

    async def _send(self, verb: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        url = f"{str(self._url).rstrip('/')}/{path}"
        timeout = httpx.Timeout(10.0, connect=self._http.timeout.connect)
        try:
            answer = await self._http.request(
                verb, url, json=body, headers=self._bearer(), timeout=timeout
            )
            data = answer.json()
        except httpx.HTTPError as error:
            raise _broken(error) from error
        except ValueError as error:
            raise AttemptFailed(Why.FAILED, "The provider sent something unreadable") from error
        if answer.is_error or not isinstance(data, dict):
            raise _refusal(answer.status_code, answer.content, answer.headers)
        return data


def _model(name: str) -> Model:
    low = name.lower()
    embedding = "embed" in low
    chat = not any(word in low for word in _NOT_CHAT)
    vision = chat and any(word in low for word in ("gpt-4o", "gpt-4.1", "gpt-5", "vision", "vl"))
    return Model(name=name, tools=chat, vision=vision, embedding=embedding)


def _request(chat: "ChatOpenAI", prompt: Prompt) -> dict[str, Any]:
    options: dict[str, Any] = dict(prompt.options)
    if prompt.tools:
        options["tools"] = list(prompt.tools)
    stop = list(prompt.stop) if prompt.stop else None
    payload = chat._get_request_payload(list(prompt.messages), stop=stop, **options)
    return {**payload, "stream": True, "stream_options": {"include_usage": True}}


async def _arrivals(response: httpx.Response) -> AsyncIterator[list[dict[str, Any]]]:
    """Yield the events of each piece that arrives.

    Lines end at line feeds only: text inside an event may hold other Unicode line ends.
    """
    rest = b""
    async for piece in response.aiter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        yield [event for line in lines if (event := _event(line)) is not None]
    last = _event(rest)
    if last is not None:
        yield [last]


async def _drain(arrivals: AsyncIterator[list[dict[str, Any]]]) -> None:
    """Read the end of the body, so that the connection can serve the next request."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_BYTES):
            async for _ in arrivals:
                pass


def _event(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(b"data:"):
        return None
    data = line[5:].strip()
    return _DONE if data == b"[DONE]" else dict(json.loads(data))


def _together(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join words that arrived together: every chunk passes many layers after this one."""
    joined: list[dict[str, Any]] = []
    for event in events:
        words = _words(event)
        if words is not None and joined and (before := _words(joined[-1])) is not None:
            choice = {
                **event["choices"][0],
                "delta": {"role": "assistant", "content": before + words},
            }
            joined[-1] = {**event, "choices": [choice]}
        else:
            joined.append(event)
    return joined


def _words(event: dict[str, Any]) -> str | None:
    """Return the text of an event that holds nothing else."""
    choices = event.get("choices") or []
    if len(choices) != 1 or event.get("usage") or choices[0].get("finish_reason"):
        return None
    delta = choices[0].get("delta") or {}
    content = delta.get("content")
    return content if isinstance(content, str) and delta.keys() <= {"role", "content"} else None


def _chunk(chat: "ChatOpenAI", event: dict[str, Any]) -> "ChatGenerationChunk | None":
    from langchain_core.messages import AIMessageChunk
    from langchain_core.outputs import ChatGenerationChunk

    words = _words(event)
    if words is not None:
        # Nearly every event: reading it here costs a third of what langchain-openai takes.
        return ChatGenerationChunk(message=AIMessageChunk(content=words))
    return chat._convert_chunk_to_generation_chunk(event, AIMessageChunk, None)


def _as_event(whole: dict[str, Any]) -> dict[str, Any]:
    """Read an unstreamed answer as a stream of one event: some servers cannot stream."""
    if whole.get("error"):
        raise by_status(500, str(whole["error"]))
    choice = whole["choices"][0]
    delta = dict(choice["message"])
    if delta.get("tool_calls"):
        delta["tool_calls"] = [{**c, "index": at} for at, c in enumerate(delta["tool_calls"])]
    return {**whole, "choices": [{**choice, "delta": delta}]}


def _refusal(status: int, body: bytes, headers: Any) -> AttemptFailed:
    text = body.decode("utf-8", "replace")
    try:
        error = json.loads(text).get("error", {})
        text = f"{error.get('code') or ''} {error.get('message') or ''}".strip() or text
    except (ValueError, AttributeError):
        pass
    return by_status(status, text, _retry_after(headers))


def _broken(error: httpx.HTTPError) -> AttemptFailed:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.UnsupportedProtocol):
        return _down()
    if isinstance(error, httpx.TimeoutException):
        return AttemptFailed(Why.STALLED, "The provider took too long")
    return AttemptFailed(Why.FAILED, "The connection to the provider broke")


def _down() -> AttemptFailed:
    return AttemptFailed(Why.DOWN, "The provider does not answer")


def _retry_after(headers: Any) -> float | None:
    """Read Retry-After, which is seconds or a date."""
    text = str(headers.get("retry-after", "")).strip()
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
