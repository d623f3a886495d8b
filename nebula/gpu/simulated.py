"""A machine with a card that is not there: real state, made-up figures, always named simulated.

Its state is a small file in the data folder, so that the server and the terminal see one card.
"""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

from nebula.errors import Conflict
from nebula.gpu.snapshot import GpuProcess, GpuReading, Resident
from nebula.services.map import NodeSpec, ServiceMap, Target
from nebula.services.resolve import resolve
from nebula.services.sizes import GIB, MIB, spoken

# A desktop takes some memory on every real card.
_DESKTOP = 400 * MIB


class _Loaded(BaseModel):
    service: str
    model: str | None
    gpu: int
    vram: int
    last_used: datetime


class _State(BaseModel):
    loaded: list[_Loaded]


class SimulatedNode:
    """One simulated machine of the service map."""

    def __init__(self, folder: Path, node: NodeSpec, services: Callable[[], ServiceMap]) -> None:
        """Take the folder for its state file, its entry, and the map in force."""
        self._file = folder / f"simulated-{node.name}.json"
        self._node = node
        self._map = services

    async def readings(self) -> tuple[GpuReading, ...]:
        """Return the cards with what the loaded models take."""
        state = await self._read()
        return tuple(
            GpuReading(
                index=gpu.index,
                name=gpu.name or "Simulated card",
                vram_total=gpu.vram or 12 * GIB,
                vram_used=_DESKTOP + sum(m.vram for m in state.loaded if m.gpu == gpu.index),
                processes=(GpuProcess(pid=1, name="desktop (simulated)", vram=_DESKTOP),),
                source="simulated",
                simulated=True,
            )
            for gpu in self._node.gpus
        )

    async def residents(self, service: str) -> tuple[Resident, ...]:
        """Return what a simulated service holds."""
        state = await self._read()
        return tuple(
            Resident(
                service=m.service,
                model=m.model,
                gpu=m.gpu,
                vram=m.vram,
                busy=False,
                last_used=m.last_used,
                simulated=True,
            )
            for m in state.loaded
            if m.service == service
        )

    async def load(self, target: Target) -> None:
        """Load a model in scaled time.

        Raises:
            Conflict: when the card has no room, as a real one would say.
        """
        services = self._map()
        spec = services.service(target.service)
        footprint = services.footprint(target)
        assert spec is not None
        await asyncio.sleep(footprint.load_seconds * self._node.time_scale)
        state = await self._read()
        keep = [m for m in state.loaded if not _replaced(m, target, many=spec.holds_many)]
        room = self._capacity(spec.gpu) - sum(m.vram for m in keep if m.gpu == spec.gpu)
        vram = footprint.vram or GIB
        if vram > room:
            raise Conflict(
                f"The simulated card is out of memory: {target} needs {spoken(vram)}, "
                f"{spoken(max(0, room))} are free"
            )
        keep.append(
            _Loaded(
                service=target.service,
                model=target.model,
                gpu=spec.gpu,
                vram=vram,
                last_used=datetime.now(UTC),
            )
        )
        await self._write(_State(loaded=keep))

    async def unload(self, target: Target) -> None:
        """Drop a model, or everything a service holds when no model is named."""
        state = await self._read()
        keep = [
            m
            for m in state.loaded
            if m.service != target.service or target.model not in {None, m.model}
        ]
        await self._write(_State(loaded=keep))

    def _capacity(self, index: int) -> int:
        total = next((g.vram for g in self._node.gpus if g.index == index), None)
        return (total or 12 * GIB) - _DESKTOP

    async def _read(self) -> _State:
        try:
            return _State.model_validate_json(await asyncio.to_thread(self._file.read_bytes))
        except (OSError, ValidationError):
            return self._first()

    def _first(self) -> _State:
        """Return the state a new card starts with; a damaged file starts over, too."""
        services = self._map()
        loaded = []
        for name in self._node.starts_with:
            target = resolve(services, name, self._node.name)[0]
            spec = services.service(target.service)
            vram = services.footprint(target).vram
            if spec is not None and vram is not None:
                loaded.append(
                    _Loaded(
                        service=target.service,
                        model=target.model,
                        gpu=spec.gpu,
                        vram=vram,
                        last_used=datetime.now(UTC),
                    )
                )
        return _State(loaded=loaded)

    async def _write(self, state: _State) -> None:
        await asyncio.to_thread(_replace, self._file, json.dumps(state.model_dump(mode="json")))


def _replaced(held: _Loaded, target: Target, *, many: bool) -> bool:
    """Say whether loading the target takes the place of what is held."""
    same = held.service == target.service
    return same and (held.model == target.model or not many)


def _replace(file: Path, text: str) -> None:
    """Write the whole file or nothing of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)
