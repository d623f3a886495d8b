"""SD WebUI (Automatic1111, Forge): one checkpoint at a time, moved on and off the card."""

import asyncio
from typing import Any

from nebula.errors import NotFound, UpstreamRejected
from nebula.gpu.drivers.wire import Wire, number
from nebula.gpu.snapshot import DeviceMemory, Holding, Resident
from nebula.services.sizes import MIB

_EMPTY = 256 * MIB


class SdWebUiDriver:
    """Speaks SD WebUI's HTTP API under /sdapi/v1 (it must run with --api)."""

    def __init__(self, wire: Wire, gpu: int = 0) -> None:
        """Take the service's address and the card it uses."""
        self._wire = wire
        self._gpu = gpu

    async def inspect(self) -> Holding:
        """Return what PyTorch holds for it, and whether it draws."""
        memory, progress = await asyncio.gather(self._get("memory"), self._get("progress"))
        cuda = memory.get("cuda")
        cuda = cuda if isinstance(cuda, dict) else {}
        held = number(_inner(cuda, "reserved").get("current"))
        busy = _busy(progress)
        resident = Resident(service=self._wire.name, gpu=self._gpu, vram=held, busy=busy)
        # Without CUDA figures it runs on the CPU, or does not say: the card is then unknown.
        present = held is not None and held > _EMPTY
        return Holding(residents=(resident,) if present else (), memory=_memory(cuda), busy=busy)

    async def _get(self, name: str) -> dict[str, Any]:
        query = "?skip_current_image=true" if name == "progress" else ""
        try:
            return self._wire.mapping(await self._wire.get(f"/sdapi/v1/{name}{query}"))
        except NotFound as error:
            raise UpstreamRejected(
                f"The API of {self._wire.name} is off", hint="Start SD WebUI with --api."
            ) from error

    async def models(self) -> tuple[str, ...]:
        """Return the checkpoints it has, by the names it takes."""
        listed = await self._wire.get("/sdapi/v1/sd-models")
        if not isinstance(listed, list):
            raise self._wire.nonsense()
        return tuple(str(m["title"]) for m in listed if isinstance(m, dict) and "title" in m)

    async def load(self, model: str | None, *, seconds: float) -> str:
        """Move the checkpoint back to the card, changing to another one when named."""
        if model is not None:
            chosen = {"sd_model_checkpoint": model}
            await self._wire.post("/sdapi/v1/options", chosen, seconds=seconds)
        await self._wire.post("/sdapi/v1/reload-checkpoint", seconds=seconds)
        return "its checkpoint is loaded"

    async def unload(self, model: str | None) -> None:  # noqa: ARG002
        """Move the checkpoint off the card."""
        await self._wire.post("/sdapi/v1/unload-checkpoint", seconds=30.0)

    async def interrupt(self) -> None:
        """Stop the running picture."""
        await self._wire.post("/sdapi/v1/interrupt")


def _inner(document: dict[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _memory(cuda: dict[str, Any]) -> DeviceMemory | None:
    system = _inner(cuda, "system")
    total, free = number(system.get("total")), number(system.get("free"))
    return None if total is None or free is None else DeviceMemory(total=total, free=free)


def _busy(progress: dict[str, Any]) -> bool | None:
    state = progress.get("state")
    if not isinstance(state, dict):
        return None
    return bool(state.get("job_count") or state.get("job"))
