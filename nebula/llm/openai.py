"""OpenAI, or anything that speaks its API, through langchain-openai."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import httpx
from pydantic import SecretStr

from nebula.http import USER_AGENT, ssl_context
from nebula.llm.failure import AttemptFailed, Why
from nebula.llm.provider import Model, Prompt, by_status

if TYPE_CHECKING:
    import openai
    from langchain_core.outputs import ChatGenerationChunk
    from langchain_openai import ChatOpenAI

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
        self._http = httpx.AsyncClient(
            transport=transport,
            verify=ssl_context(),
            timeout=httpx.Timeout(None, connect=connect_seconds),
            headers={"User-Agent": USER_AGENT},
        )
        # ChatOpenAI wants a synchronous client, and would make a second TLS context for it.
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
        """Ask a model; every error of the client is translated to AttemptFailed."""
        if "langchain_openai" not in sys.modules:
            await asyncio.to_thread(self.warm)
        import openai

        options: dict[str, Any] = dict(prompt.options)
        if prompt.tools:
            options["tools"] = list(prompt.tools)
        stop = list(prompt.stop) if prompt.stop else None
        try:
            source = self._chat(model)._astream(list(prompt.messages), stop, **options)
            async with aclosing(source) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    yield chunk
        except openai.APIError as error:
            raise _translated(error) from error
        except httpx.HTTPError as error:
            raise _broken(error) from error
        except _UNREADABLE as error:
            raise AttemptFailed(Why.FAILED, "The provider sent something unreadable") from error

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

    def _secret(self) -> SecretStr:
        # The SDK wants some key, and would read one of the environment for another server.
        return self._key if self._key.get_secret_value() else SecretStr("none")

    async def _send(self, verb: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        url = f"{str(self._url).rstrip('/')}/{path}"
        bearer = {"Authorization": f"Bearer {self._secret().get_secret_value()}"}
        timeout = httpx.Timeout(10.0, connect=self._http.timeout.connect)
        try:
            answer = await self._http.request(verb, url, json=body, headers=bearer, timeout=timeout)
            data = answer.json()
        except httpx.HTTPError as error:
            raise _broken(error) from error
        except ValueError as error:
            raise AttemptFailed(Why.FAILED, "The provider sent something unreadable") from error
        if answer.is_error or not isinstance(data, dict):
            raise by_status(answer.status_code, str(data), _retry_after(answer.headers))
        return data


def _model(name: str) -> Model:
    low = name.lower()
    embedding = "embed" in low
    chat = not any(word in low for word in _NOT_CHAT)
    vision = chat and any(word in low for word in ("gpt-4o", "gpt-4.1", "gpt-5", "vision", "vl"))
    return Model(name=name, tools=chat, vision=vision, embedding=embedding)


def _translated(error: "openai.APIError") -> AttemptFailed:
    import openai

    if isinstance(error, openai.APITimeoutError):
        return AttemptFailed(Why.DOWN, "The provider does not answer")
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__
        return _broken(cause) if isinstance(cause, httpx.HTTPError) else _down()
    if isinstance(error, openai.APIStatusError):
        text = f"{error.code or ''} {error.message}"
        return by_status(error.status_code, text, _retry_after(error.response.headers))
    return by_status(500, f"{error.code or ''} {error.message}")


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
