"""The people of the chaos run: they ask for GPU work at the REST door until they are answered."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.chaos.lab import CARDS, OWNERS, Lab
from benchmarks.chaos.models import SIZES, Holder
from benchmarks.chaos.tools import COMMAND
from nebula.auth.principal import Surface
from nebula.errors import NebulaError

_VRAM = (1.0, 2.0, 3.0, 4.0, 6.0)
_KLASSES = ("chat", "image", "batch", "training")
_TOOLS = {
    "chaos_keyed": 3, "chaos_opaque": 2, "nodes_run_command": 2, "chaos_train": 2,
    "chaos_model": 5, "chaos_chat": 4,
}  # fmt: skip


@dataclass(frozen=True)
class Wish:
    """One thing that somebody will ask for."""

    call: str
    at: float
    owner: str
    tool: str
    arguments: dict[str, Any]
    cancel_after: float | None


def wishes(seed: int, count: int, seconds: float, holders: Sequence[Holder]) -> list[Wish]:
    """Draw what will be asked for within so many seconds."""
    draw = random.Random(seed * 7919 + 1)
    found = []
    for number in range(count):
        call = f"chaos-{number}"
        tool = draw.choices(list(_TOOLS), list(_TOOLS.values()))[0]
        arguments = _arguments(draw, tool, call, holders)
        at, owner = draw.uniform(0, seconds), draw.choice(OWNERS)
        cancel = draw.uniform(0.2, 6.0) if draw.random() < 0.1 else None
        found.append(Wish(call, at, owner, tool, arguments, cancel))
    return found


def _arguments(
    draw: random.Random, tool: str, call: str, holders: Sequence[Holder]
) -> dict[str, Any]:
    vram, takes = draw.choice(_VRAM), round(draw.triangular(0.1, 16.0, 2.0), 2)
    stubborn, klass = draw.choice((0.0, 0.0, 1.0, 5.0)), draw.choice(_KLASSES)
    model = {"service": draw.choice(holders).service, "model": draw.choice(list(SIZES))}
    node = draw.choice(list(CARDS))
    match tool:
        case "nodes_run_command":
            words = ["opaque", call, f"{takes:g}", f"{stubborn:g}"]
            return {"node": node, "command": COMMAND, "args": words, "vram_gb": vram}
        case "chaos_train":
            return {"vram_gb": vram, "seconds": takes}
        case "chaos_model":
            return {**model, "klass": klass, "seconds": takes / 2}
        case "chaos_chat":
            return {**model, "seconds": takes / 4}
        case _:
            return {"klass": klass, "vram_gb": vram, "seconds": takes, "stubborn": stubborn}


class People:
    """Ask, approve, cancel; what was promised to them is kept."""

    def __init__(self, lab: Lab) -> None:
        """Take the doors."""
        self._lab = lab
        self.acknowledged: dict[str, str] = {}
        self.answers = Counter[str]()
        self.chats = Counter[str]()
        self.broken: list[str] = []
        """Answers that tell nobody what is wrong."""

    async def ask(self, wish: Wish) -> None:
        """Ask at the wish's time, again and again with the same key, until there is an answer."""
        await asyncio.sleep(wish.at)
        if wish.tool == "chaos_chat":
            await self.chat(wish)
            return
        while wish.call not in self.acknowledged:
            answer = await self._post(wish, f"/api/tools/{wish.tool}", wish.arguments, wish.call)
            said = _said(answer)
            if "job_id" in said:
                self.acknowledged[wish.call] = said["job_id"]
            elif "approval_id" not in said or not await self._approved(wish, said["approval_id"]):
                await asyncio.sleep(0.5)
        if wish.cancel_after is not None:
            await asyncio.sleep(wish.cancel_after)
            path = f"/api/jobs/{self.acknowledged[wish.call]}/cancel"
            answer = await self._post(wish, path, {}, f"{wish.call}-cancel")
            self.answers["cancelled" if answer and answer.is_success else "not cancelled"] += 1

    async def chat(self, wish: Wish) -> str:
        """Have a model answer at once; return the code of what came of it."""
        answer = await self._post(wish, f"/api/tools/{wish.tool}", wish.arguments, wish.call)
        said = "answered"
        if answer is None:
            said = "no answer"
        elif not answer.is_success:
            said = str(_said(answer).get("code") or answer.status_code)
        self.chats[said] += 1
        return said

    async def _post(
        self, wish: Wish, path: str, body: dict[str, Any], key: str
    ) -> httpx.Response | None:
        _, http = self._lab.owners[wish.owner]
        try:
            long = 60.0 if wish.tool == "chaos_chat" else 15.0
            headers = {"Idempotency-Key": key}
            answer = await http.post(path, json=body, headers=headers, timeout=long)
        except httpx.HTTPError:
            self.answers["no answer"] += 1
            return None
        self.answers[f"answered {answer.status_code}"] += 1
        if answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR:
            self.broken.append(f"{wish.tool} {wish.call}: {answer.text[:300]}")
        return answer

    async def _approved(self, wish: Wish, approval: str) -> bool:
        """Approve a call that waits for it; say whether it may be sent again at once."""
        who, _ = self._lab.owners[wish.owner]
        try:
            await self._lab.app.parts.approvals.decide(
                approval, decision="approve", by=who, surface=Surface.TERMINAL
            )
        except NebulaError as error:
            self.answers[f"not approved: {error}"] += 1
            return False
        return True


def _said(answer: httpx.Response | None) -> dict[str, Any]:
    """Return what an answer says; nothing when there is none, or it makes no sense."""
    try:
        said = {} if answer is None else answer.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
