"""Ollama's models: list, show, pull, delete.

https://github.com/ollama/ollama/blob/main/docs/api.md. A pull answers 200 and streams a line per
step; errors come as a line, too. Layers that are there already are not fetched again, so asking
once more goes on where a pull broke off.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from nebula.errors import (
    Conflict,
    NebulaError,
    NotFound,
    TimedOut,
    TooLarge,
    UpstreamRejected,
    UpstreamUnavailable,
)
from nebula.gpu.drivers.wire import Wire, number
from nebula.services.sizes import spoken
from tools.models.download import Progress
from tools.models.settings import ModelsSettings

_MAX_LINE: Final = 64 * 1024


@dataclass(frozen=True)
class Installed:
    """A model on an Ollama server's disk."""

    name: str
    size: int | None
    digest: str = ""
    family: str = ""
    parameters: str = ""
    quantization: str = ""


@dataclass(frozen=True)
class Shown:
    """What Ollama tells about one model."""

    name: str
    family: str = ""
    parameters: str = ""
    quantization: str = ""
    context_length: int | None = None
    capabilities: tuple[str, ...] = ()
    license: str = ""


class OllamaModels:
    """One Ollama server's models."""

    def __init__(self, http: httpx.AsyncClient, name: str, url: str) -> None:
        """Take the service's name in the map and its address."""
        self._http = http
        self._wire = Wire(http, name, url)

    async def installed(self) -> list[Installed]:
        """Return what was pulled."""
        document = self._wire.mapping(await self._wire.get("/api/tags", seconds=10.0))
        listed = document.get("models") or []
        if not isinstance(listed, list):
            raise self._wire.nonsense()
        return [_installed(m) for m in listed if isinstance(m, dict) and m.get("name")]

    async def show(self, model: str) -> Shown:
        """Return a model's family, size, quantization, context and licence.

        Raises:
            NotFound: when it was not pulled.
        """
        try:
            answer = await self._wire.post("/api/show", {"model": model})
        except NotFound as error:
            raise NotFound(
                f"{self._wire.name} does not have the model {model}",
                hint="models_download gets it; models_list shows what is there.",
            ) from error
        return _shown(model, self._wire.mapping(answer))

    async def delete(self, model: str) -> None:
        """Remove a model from the server's disk.

        Raises:
            NotFound: when it is not there.
        """
        try:
            await self._wire.delete("/api/delete", {"model": model})
        except NotFound as error:
            raise NotFound(f"{self._wire.name} does not have the model {model}") from error

    async def pull(self, model: str, settings: ModelsSettings, progress: Progress) -> int:
        """Fetch a model and return its bytes; broken pulls are gone on with.

        Leaving the stream makes the server stop, so a cancel reaches it.

        Raises:
            NotFound: when no registry has it.
            NebulaError: as the server says, or when it broke off too often.
        """
        failures = 0
        pull = Pull(model, progress)
        while True:
            before = pull.done
            try:
                async with aclosing(self._lines(model, settings, pull)) as lines:
                    async for line in lines:
                        await pull.take(line)
                if not pull.finished:
                    raise UpstreamUnavailable(f"{self._wire.name} broke off in the middle")
                return pull.done
            except (UpstreamUnavailable, TimedOut) as error:
                failures = 1 if pull.done > before else failures + 1
                if failures >= settings.attempts:
                    raise
                wait = min(settings.retry_seconds * 2.0 ** (failures - 1), 60.0)
                await progress(pull.fraction, f"{error}; going on in {wait:.0f} s")
                await asyncio.sleep(wait)

    async def _lines(
        self, model: str, settings: ModelsSettings, pull: "Pull"
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        url = f"{self._wire.url}/api/pull"
        body = {"model": model, "stream": True}
        # Silence is limited below: checking what was pulled takes its time without a word.
        timeout = httpx.Timeout(None, connect=5.0)
        try:
            async with self._http.stream("POST", url, json=body, timeout=timeout) as answer:
                if answer.is_error:
                    await answer.aread()
                    raise _refused(self._wire.name, model, _error(answer.content), answer)
                lines = answer.aiter_lines()
                while True:
                    quiet = settings.stall_seconds if pull.fetching else settings.verify_seconds
                    async with asyncio.timeout(quiet):
                        line = await anext(lines, None)
                    if line is None:
                        return
                    if line.strip():
                        yield self._line(line, model)
        except TimeoutError as error:
            raise TimedOut(f"{self._wire.name} said nothing more about {model}") from error
        except httpx.HTTPError as error:
            raise UpstreamUnavailable(
                f"{self._wire.name} does not answer at {self._wire.url}",
                hint=f"Start {self._wire.name} and ask again: it goes on where it stopped.",
            ) from error

    def _line(self, line: str, model: str) -> Mapping[str, Any]:
        try:
            document = json.loads(line[:_MAX_LINE])
        except ValueError as error:
            raise self._wire.nonsense() from error
        found = self._wire.mapping(document)
        if found.get("error") is not None:
            raise _refused(self._wire.name, model, _text(found["error"]), None)
        return found


@dataclass
class Pull:
    """How far a pull is: the layers seen so far as one fraction that never goes back."""

    model: str
    progress: Progress
    finished: bool = False
    fetching: bool = True
    fraction: float | None = None
    _layers: dict[str, tuple[int, int]] = field(default_factory=dict)
    _told: float = 0.0
    _said: str = ""

    @property
    def done(self) -> int:
        """Return the bytes that are there."""
        return sum(done for done, _ in self._layers.values())

    async def take(self, line: Mapping[str, Any]) -> None:
        """Take one line of the stream."""
        status = _text(line.get("status"))
        digest, total = line.get("digest"), number(line.get("total"))
        if isinstance(digest, str) and total is not None:
            before = self._layers.get(digest, (0, total))[0]
            done = min(total, number(line.get("completed")) or 0)
            self._layers[digest] = (max(before, done), total)
        self.finished = self.finished or status == "success"
        self.fetching = status.startswith("pulling")
        await self._tell(status)

    async def _tell(self, status: str) -> None:
        total = sum(total for _, total in self._layers.values())
        if total:
            # A small layer may come before a large one: what was told is not taken back.
            reached = 1.0 if self.finished else min(0.99, self.done / total)
            self.fraction = max(self.fraction or 0.0, reached)
        words = f"{self.model}: {status}"
        if self.fetching and total:
            words = f"{self.model}: {spoken(self.done)} of {spoken(total)}"
        now = asyncio.get_running_loop().time()
        if words != self._said and (now - self._told >= 0.5 or not self.fetching):
            self._told, self._said = now, words
            await self.progress(self.fraction, words)


def _refused(name: str, model: str, said: str, answer: httpx.Response | None) -> NebulaError:
    """Tell from Ollama's words what went wrong; it has no codes in a stream."""
    low = said.lower()
    if "file does not exist" in low or "not found" in low or "manifest unknown" in low:
        return NotFound(
            f"No model is called {model}",
            hint="The names are at ollama.com/library; a size comes after a colon: llama3.2:3b.",
        )
    if "no space left" in low or "disk quota" in low:
        return TooLarge(
            f"The disk of {name} is full",
            hint="Delete models there and ask again: it goes on where it stopped.",
        )
    if "newer version" in low or "requires a newer" in low:
        return Conflict(f"{name} is too old for {model}", hint=f"Update {name}.")
    if re.search(r"timeout|connection|eof|dial tcp|no such host|max retries|reset by", low):
        return UpstreamUnavailable(f"{name} does not reach its registry: {said[:150]}")
    status = f" with error {answer.status_code}" if answer is not None else ""
    if answer is not None and answer.status_code >= 500 and not said:
        return UpstreamUnavailable(f"{name} has an error ({answer.status_code})")
    return UpstreamRejected(f"{name} refused {model}{status}: {said[:200] or 'no reason given'}")


def _error(content: bytes) -> str:
    try:
        document = json.loads(content)
    except ValueError:
        return ""
    return _text(document.get("error")) if isinstance(document, dict) else ""


def _installed(entry: Mapping[str, Any]) -> Installed:
    details = entry.get("details")
    details = details if isinstance(details, dict) else {}
    return Installed(
        name=_text(entry["name"]),
        size=number(entry.get("size")),
        digest=_text(entry.get("digest"))[:12],
        family=_text(details.get("family")),
        parameters=_text(details.get("parameter_size")),
        quantization=_text(details.get("quantization_level")),
    )


def _shown(model: str, answer: Mapping[str, Any]) -> Shown:
    details = answer.get("details")
    details = details if isinstance(details, dict) else {}
    info = answer.get("model_info")
    info = info if isinstance(info, dict) else {}
    context = next((v for k, v in info.items() if str(k).endswith(".context_length")), None)
    capabilities = answer.get("capabilities")
    return Shown(
        name=model,
        family=_text(details.get("family")),
        parameters=_text(details.get("parameter_size")),
        quantization=_text(details.get("quantization_level")),
        context_length=number(context),
        capabilities=tuple(
            _text(c) for c in (capabilities if isinstance(capabilities, list) else [])
        ),
        license=_text(info.get("general.license")) or _first_line(answer.get("license")),
    )


def _first_line(value: Any) -> str:
    lines = [line.strip() for line in str(value or "").splitlines() if line.strip()]
    return " ".join(lines[:2])[:200]


def _text(value: Any) -> str:
    return "" if value is None else " ".join(str(value).split())[:300]
