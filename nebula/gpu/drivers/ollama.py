"""Ollama: several models side by side, each loaded and dropped by an empty request."""

from datetime import UTC, datetime, timedelta
from typing import Any

from nebula.errors import NotFound, UpstreamRejected
from nebula.gpu.drivers.wire import Wire, number
from nebula.gpu.snapshot import Holding, Resident

# How long a model stays that was loaded on request; chat turns renew it.
_KEEP = "30m"


class OllamaDriver:
    """Speaks Ollama's HTTP API (/api/ps, /api/tags, /api/generate, /api/embed)."""

    def __init__(self, wire: Wire, gpu: int = 0) -> None:
        """Take the service's address and the card it uses."""
        self._wire = wire
        self._gpu = gpu

    async def inspect(self) -> Holding:
        """Return the models in memory; `size_vram` 0 means that one runs on the CPU."""
        document = self._wire.mapping(await self._wire.get("/api/ps"))
        listed = document.get("models")
        if not isinstance(listed, list):
            raise self._wire.nonsense()
        return Holding(residents=tuple(self._resident(m) for m in listed if isinstance(m, dict)))

    def _resident(self, entry: dict[str, Any]) -> Resident:
        return Resident(
            service=self._wire.name,
            model=_plain(str(entry.get("name") or entry.get("model") or "unknown")),
            gpu=self._gpu,
            vram=number(entry.get("size_vram")),
            last_used=_last_used(entry.get("expires_at")),
        )

    async def models(self) -> tuple[str, ...]:
        """Return the models that were pulled."""
        document = self._wire.mapping(await self._wire.get("/api/tags"))
        listed = document.get("models") or []
        return tuple(_plain(str(m["name"])) for m in listed if isinstance(m, dict) and "name" in m)

    async def load(self, model: str | None, *, seconds: float) -> str:
        """Load a model; embedding models need a request of their own kind."""
        if model is None:
            raise NotFound(
                f"{self._wire.name} needs the name of a model",
                hint="List a model under `models:` in service-map.yml, or name one.",
            )
        body: dict[str, Any] = {"model": model, "keep_alive": _KEEP, "stream": False}
        try:
            answer = await self._wire.post("/api/generate", body, seconds=seconds)
        except UpstreamRejected as error:
            if "does not support generate" not in str(error):
                raise
            answer = await self._wire.post(
                "/api/embed", {"model": model, "keep_alive": _KEEP, "input": "."}, seconds=seconds
            )
        except NotFound as error:
            raise NotFound(
                f"{self._wire.name} does not have the model {model}",
                hint=f"Get it with: ollama pull {model}",
            ) from error
        if (said := self._wire.mapping(answer).get("error")) is not None:
            raise UpstreamRejected(f"{self._wire.name} could not load {model}: {str(said)[:200]}")
        return f"{model} is loaded"

    async def unload(self, model: str | None) -> None:
        """Drop a model, or all of them; Ollama finishes running requests first."""
        names = [model] if model else [r.model for r in (await self.inspect()).residents]
        for name in names:
            body = {"model": name, "keep_alive": 0, "stream": False}
            await self._wire.post("/api/generate", body)

    async def interrupt(self) -> None:
        """Do nothing: Ollama has no call for it, and unloads after the answer."""


def _plain(name: str) -> str:
    """Drop the tag that Ollama adds to a name without one."""
    return name.removesuffix(":latest")


def _last_used(expires_at: object) -> datetime | None:
    """Guess the last use from the expiry: Ollama keeps a model for five minutes unless told."""
    try:
        at = datetime.fromisoformat(str(expires_at))
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    # "For ever" is an expiry in another century.
    return None if at.year > 2200 else at - timedelta(minutes=5)
