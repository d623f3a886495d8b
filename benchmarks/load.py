"""Load: chat turns over SSE at once and in great number; none lost, no 5xx, memory flat.

Run: python -m benchmarks.load [--turns 5000] [--at-once 200]

Three processes: a scripted OpenAI-compatible model server, our server with its embedded database on
a fresh folder, and this one, which sends messages and reads every turn to its `done`. Memory is the
resident set of our server's process, read while it works. There is no peer: the goal is absolute.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).parent.parent
SAMPLES = 10


@dataclass
class Figures:
    """What came of the turns."""

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    took: float = 0.0

    def percentile(self, share: float) -> float:
        """Return the turn time that this share of turns stays below, in seconds."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def drive(
    http: httpx.AsyncClient, turns: int, at_once: int, process: psutil.Process | None = None
) -> Figures:
    """Send messages, `at_once` at a time, and read each turn to its end."""
    figures, left = Figures(), iter(range(turns))
    every = max(1, turns // SAMPLES)

    async def talk() -> None:
        for number in left:
            started = time.perf_counter()
            outcome = await one_turn(http, number)
            figures.outcomes[outcome] += 1
            figures.seconds.append(time.perf_counter() - started)
            if process is not None and number % every == every - 1:
                figures.memory.append(process.memory_info().rss / 2**20)

    began = time.perf_counter()
    await asyncio.gather(*[talk() for _ in range(at_once)])
    figures.took = time.perf_counter() - began
    return figures


async def one_turn(http: httpx.AsyncClient, number: int) -> str:
    """Say something that only this turn says; return how it ended."""
    said = f"Tell me a word about subject {number}, please."
    text, last = "", {}
    try:
        async with http.stream("POST", "/api/jarvis/chat", json={"message": said}) as answer:
            if answer.status_code != 200:
                return f"status {answer.status_code}"
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    last = json.loads(line.removeprefix("data: "))
                    text += last["text"] if last["type"] == "message" else ""
    except httpx.HTTPError as error:
        return type(error).__name__
    if last.get("type") != "done":
        return "cut off"
    if f"subject {number}," not in text:
        return "another's answer" if "subject " in text else f"other words: {text[:60]!r}"
    return str(last["outcome"])


def main() -> None:
    """Start the servers, drive them, and print the figures."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--turns", type=int, default=5000)
    reader.add_argument("--at-once", type=int, default=200)
    asked = reader.parse_args()
    with tempfile.TemporaryDirectory(prefix="load") as home:
        Path(home).chmod(0o755)
        with part("model") as model, part("server", home, model["url"]) as server:
            figures = asyncio.run(measure(server, asked.turns, asked.at_once))
    show(figures, asked.turns, asked.at_once)


async def measure(server: dict[str, Any], turns: int, at_once: int) -> Figures:
    """Drive our server after a short warm-up."""
    limits = httpx.Limits(max_connections=at_once + 8)
    async with httpx.AsyncClient(
        base_url=server["url"], headers={"X-API-Key": server["key"]}, timeout=120, limits=limits
    ) as http:
        await drive(http, at_once, at_once)
        return await drive(http, turns, at_once, psutil.Process(server["pid"]))


def show(figures: Figures, turns: int, at_once: int) -> None:
    """Print the figures beside what is wanted."""
    good = figures.outcomes["answered"]
    print(f"turns {turns}, {at_once} at once: {turns / figures.took:.1f} turns/s")
    print(
        f"answered {good}, otherwise {dict(figures.outcomes - Counter(answered=good))} (goal: none)"
    )
    print(
        f"seconds per turn: p50 {figures.percentile(0.5):.2f}, p95 {figures.percentile(0.95):.2f}, "
        f"p99 {figures.percentile(0.99):.2f}"
    )
    told = " ".join(f"{value:.0f}" for value in figures.memory)
    print(f"memory of the server after each tenth, MiB (goal: flat): {told}")


@contextmanager
def part(kind: str, *arguments: str) -> Iterator[dict[str, Any]]:
    """Run one of the servers in a process of its own; yield the line it says when ready."""
    command = [sys.executable, "-m", "benchmarks.load_servers", kind, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env=os.environ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(b'{"url"'):
                    yield json.loads(line) | {"pid": process.pid}
                    break
            else:
                raise RuntimeError(f"the {kind} did not start")
        finally:
            process.terminate()
            process.wait(30)


if __name__ == "__main__":
    main()
