"""ComfyUI: one pool of models; `/free` only raises a flag that its worker reads later."""

import asyncio
import time
import uuid
from typing import Any

from nebula.errors import NotFound, OutcomeUnknown, TimedOut, UpstreamRejected
from nebula.gpu.drivers.wire import Wire, number
from nebula.gpu.snapshot import DeviceMemory, Holding, Resident
from nebula.services.sizes import MIB

# PyTorch keeps small buffers after everything was unloaded; that is no model.
_EMPTY = 256 * MIB
_POLL = 0.5


class ComfyDriver:
    """Speaks ComfyUI's HTTP API (/system_stats, /queue, /prompt, /history, /free, /interrupt)."""

    def __init__(self, wire: Wire, gpu: int = 0, poll: float = _POLL) -> None:
        """Take the address, the card, and the seconds between two looks at a running prompt."""
        self._wire = wire
        self._gpu = gpu
        self._poll = poll

    async def inspect(self) -> Holding:
        """Return what PyTorch holds for ComfyUI; it does not say which models those are."""
        stats, queue = await asyncio.gather(
            self._wire.get("/system_stats"), self._wire.get("/queue")
        )
        running = self._wire.mapping(queue).get("queue_running")
        device = self._device(self._wire.mapping(stats))
        held = number(device.get("torch_vram_total"))
        busy = bool(running) if isinstance(running, list) else None
        present = held is None or held > _EMPTY
        resident = Resident(service=self._wire.name, gpu=self._gpu, vram=held, busy=busy)
        return Holding(residents=(resident,) if present else (), memory=_memory(device), busy=busy)

    def _device(self, stats: dict[str, Any]) -> dict[str, Any]:
        """Return the card's entry; a ComfyUI that runs on the CPU has none."""
        devices = stats.get("devices")
        if not isinstance(devices, list):
            raise self._wire.nonsense()
        cards = [d for d in devices if isinstance(d, dict) and d.get("type") != "cpu"]
        return cards[0] if cards else {"torch_vram_total": 0}

    async def models(self) -> tuple[str, ...]:
        """Return the checkpoint files it has."""
        node = "CheckpointLoaderSimple"
        document = self._wire.mapping(await self._wire.get(f"/object_info/{node}"))
        try:
            listed = document[node]["input"]["required"]["ckpt_name"][0]
        except (KeyError, IndexError, TypeError) as error:
            raise self._wire.nonsense() from error
        return tuple(str(name) for name in listed) if isinstance(listed, list) else ()

    async def load(self, model: str | None, *, seconds: float) -> str:
        """Warm a checkpoint with one tiny picture; without one, check that it can work."""
        if model is None:
            await self._wire.get("/system_stats")
            return "room is made; ComfyUI loads its models with the first picture"
        known = await self.models()
        if model not in known:
            raise NotFound(
                f"{self._wire.name} does not have the checkpoint {model}",
                hint=f"It has: {', '.join(known[:5]) or 'none'}.",
            )
        await self._run(_warm_prompt(model), seconds)
        return f"{model} is loaded"

    async def _run(self, prompt: dict[str, Any], seconds: float) -> None:
        """Run a prompt to its end, seen in the history (its socket replays nothing)."""
        key = str(uuid.uuid4())
        body = {"prompt": prompt, "prompt_id": key, "client_id": key}
        answer = self._wire.mapping(await self._wire.post("/prompt", body))
        if answer.get("node_errors") or "prompt_id" not in answer:
            raise UpstreamRejected(f"{self._wire.name} refused the warm-up picture")
        key = str(answer["prompt_id"])
        limit = time.monotonic() + seconds
        while (status := await self._status(key)) is None:
            if time.monotonic() > limit:
                raise TimedOut(f"{self._wire.name} was still loading after {seconds:g} s")
            await asyncio.sleep(self._poll)
        if status.get("status_str") != "success":
            raise UpstreamRejected(f"{self._wire.name} could not load: {_why(status)}")

    async def _status(self, key: str) -> dict[str, Any] | None:
        """Return how a prompt ended; None while it waits or runs."""
        history = self._wire.mapping(await self._wire.get(f"/history/{key}"))
        if key in history:
            status = history[key].get("status")
            return status if isinstance(status, dict) else {}
        queue = self._wire.mapping(await self._wire.get("/queue"))
        waiting = [*queue.get("queue_running", []), *queue.get("queue_pending", [])]
        if any(key in entry for entry in waiting):
            return None
        # It may have ended between the two questions; gone from both means a restart.
        history = self._wire.mapping(await self._wire.get(f"/history/{key}"))
        if key not in history:
            raise OutcomeUnknown(f"{self._wire.name} forgot the picture; it was restarted")
        return history[key].get("status") or {}

    async def unload(self, model: str | None) -> None:  # noqa: ARG002
        """Ask it to drop its models and cache; the worker does so when it next looks."""
        await self._wire.post("/free", {"unload_models": True, "free_memory": True})

    async def interrupt(self) -> None:
        """Stop the running prompt."""
        await self._wire.post("/interrupt", {})


def _memory(device: dict[str, Any]) -> DeviceMemory | None:
    """Read the card's memory; ComfyUI counts PyTorch's idle buffers as free, the card does not."""
    total, free = number(device.get("vram_total")), number(device.get("vram_free"))
    if total is None or free is None:
        return None
    free = max(0, free - (number(device.get("torch_vram_free")) or 0))
    return DeviceMemory(total=total, free=free, name=_card_name(device.get("name")))


def _card_name(name: object) -> str | None:
    """Return the card's name out of "cuda:0 NVIDIA GeForce RTX 3060 : cudaMallocAsync"."""
    if not isinstance(name, str):
        return None
    words = name.split(" : ")[0]
    return words.partition(" ")[2] if words.startswith(("cuda:", "xpu:")) else words


def _why(status: dict[str, Any]) -> str:
    for message in status.get("messages") or []:
        if isinstance(message, list) and len(message) > 1 and message[0] == "execution_error":
            return " ".join(str(message[1].get("exception_message", "")).split())[:200]
    return "it reported an error"


def _warm_prompt(checkpoint: str) -> dict[str, Any]:
    """Build the smallest picture that makes ComfyUI load a checkpoint: 64 by 64, one step."""

    def node(kind: str, **inputs: Any) -> dict[str, Any]:
        return {"class_type": kind, "inputs": inputs}

    sampling = {"seed": 0, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal"}
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name=checkpoint),
        "2": node("CLIPTextEncode", clip=["1", 1], text=""),
        "3": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "4": node(
            "KSampler",
            model=["1", 0],
            positive=["2", 0],
            negative=["2", 0],
            latent_image=["3", 0],
            denoise=1.0,
            **sampling,
        ),
        "5": node("VAEDecode", samples=["4", 0], vae=["1", 2]),
        "6": node("PreviewImage", images=["5", 0]),
    }
