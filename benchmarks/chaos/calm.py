"""When the storm is over: do tables and servers agree, and does everything still work?"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.chaos.lab import OWNERS, Lab
from benchmarks.chaos.models import IDLE_MINUTES, OWN
from benchmarks.chaos.work import People, Wish

_SETTLE_SECONDS = 20.0
_LOAD_SECONDS = 20.0
_BACK_SECONDS = 20.0
_FORGET_SECONDS = IDLE_MINUTES * 60 - 3.0
"""Before the model would be unloaded because nobody uses it."""
_IDLE_SECONDS = IDLE_MINUTES * 60 + 15.0


@dataclass(frozen=True)
class Agreed:
    """What the table and the servers said of the models at the same time."""

    residents: Mapping[tuple[str, str], str]
    held: Mapping[str, frozenset[str] | None]

    @property
    def settled(self) -> bool:
        """Say whether they say the same, and nothing moves."""
        known = {
            service: frozenset(m for s, m in self.residents if s == service)
            for service in self.held
        }
        return known == dict(self.held) and set(self.residents.values()) <= {"loaded"}


async def agree(lab: Lab) -> Agreed:
    """Let the servers be well from now on, and wait until they and the table say the same."""
    (lab.out / "calm").touch()
    until = time.monotonic() + _SETTLE_SECONDS
    while True:
        residents = await lab.residents()
        held = {h.service: await lab.holding(h) for h in lab.holders.values()}
        # What was loaded or left between the two looks proves nothing.
        seen = Agreed(residents if residents == await lab.residents() else {}, held)
        if seen.settled or time.monotonic() > until:
            return seen
        await asyncio.sleep(0.5)


async def probe(lab: Lab, people: People) -> list[str]:
    """Use models as on any day; return what does not work any more."""
    return await _forgets(lab, people) or await _comes_back(lab, people)


async def _forgets(lab: Lab, people: People) -> list[str]:
    """Kill a server that holds a model: the table must not keep it."""
    server = lab.holders["two"]
    loads = {"service": server.service, "seconds": 0.3, "model": "small"}
    if (said := await people.chat(_wish("chaos_chat", loads, "after-death"))) != "answered":
        return [f"a model does not answer: {said}"]
    running = lab.agents["two"].holder()
    if running is not None:
        running.kill()

    async def forgotten() -> bool:
        return not any(service == server.service for service, _ in await lab.residents())

    if not await _within(_FORGET_SECONDS, forgotten):
        return ["the table keeps the models of a server that died"]
    return []


async def _comes_back(lab: Lab, people: People) -> list[str]:
    """Push Jarvis's own model out: it comes back, and goes when nobody uses it."""
    own = lab.holders["one"]
    loads = {"service": own.service, "seconds": 0.3}

    async def swapped(there: str, gone: str) -> bool:
        held = await lab.holding(own) or frozenset()
        return there in held and gone not in held

    wish = _wish("chaos_chat", {**loads, "model": OWN}, "after-chat")
    if (said := await people.chat(wish)) != "answered":
        return [f"Jarvis's own model does not answer: {said}"]
    wish = _wish("chaos_model", {**loads, "model": "large", "klass": "image"}, "after-image")
    await people.ask(wish)
    if not await _within(_LOAD_SECONDS, lambda: swapped("large", OWN)):
        return ["the own model was not unloaded for a larger one"]
    if not await _within(_BACK_SECONDS, lambda: swapped(OWN, "large")):
        return ["the own model did not come back"]

    async def empty() -> bool:
        return not await lab.residents() and await lab.holding(own) == frozenset()

    if not await _within(_IDLE_SECONDS, empty):
        return ["idle models were not unloaded"]
    return []


def _wish(tool: str, arguments: dict[str, Any], call: str) -> Wish:
    return Wish(call, 0.0, OWNERS[0], tool, arguments, None)


async def _within(seconds: float, true: Callable[[], Awaitable[bool]]) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if await true():
            return True
        await asyncio.sleep(0.2)
    return False
