"""Pulling into Ollama over a real port, with a server that misbehaves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from nebula.errors import (
    Conflict,
    NotFound,
    TimedOut,
    TooLarge,
    UpstreamRejected,
    UpstreamUnavailable,
)
from tests.fakes.ollama import FakeOllama
from tests.fakes.serve import refusing, serve
from tests.tools.models.test_download import Told, limits
from tools.models.ollama import OllamaModels, Pull


@asynccontextmanager
async def open_server() -> AsyncIterator[tuple[FakeOllama, OllamaModels]]:
    fake = FakeOllama()
    async with serve(fake) as url, httpx.AsyncClient() as http:
        yield fake, OllamaModels(http, "ollama", url)


async def pull(server: OllamaModels, name: str = "new:1b", **more: Any) -> Told:
    told = Told()
    await server.pull(name, limits(verify_seconds=5, **more), told)
    return told


async def test_the_layers_of_a_pull_are_one_progress_that_never_goes_back() -> None:
    async with open_server() as (fake, server):
        fake.server.pulls.layers = (("sha256:aa", 4096), ("sha256:bb", 10**9), ("sha256:cc", 10**8))
        told = await pull(server)
        assert "new:1b" in fake.server.installed
    fractions = [f for f, _ in told.lines if f is not None]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert told.lines[-1][1] == "new:1b: success"


async def test_a_small_layer_before_a_large_one_does_not_turn_the_progress_back() -> None:
    pull = Pull("new:1b", Told())
    seen: list[float] = []
    for digest, total in (("aa", 100), ("bb", 10_000)):
        for done in (0, total // 2, total):
            line = {"status": f"pulling {digest}", "digest": digest, "total": total}
            await pull.take({**line, "completed": done})
            seen.append(pull.fraction or 0.0)
    assert seen == sorted(seen) and seen[2] == 0.99
    await pull.take({"status": "success"})
    assert pull.fraction == 1.0


async def test_a_pull_that_breaks_off_is_gone_on_with() -> None:
    async with open_server() as (fake, server):
        fake.server.pulls.drops = 2
        told = await pull(server)
        assert len(fake.server.pulls.asked) == 3
        assert "new:1b" in fake.server.installed
    assert "going on in" in told.text


async def test_a_stream_without_a_last_word_is_no_success() -> None:
    async with open_server() as (fake, server):
        fake.server.pulls.unfinished = 99
        with pytest.raises(UpstreamUnavailable, match="broke off"):
            await pull(server)
        assert "new:1b" not in fake.server.installed


async def test_a_server_that_falls_silent_is_asked_again_and_then_given_up() -> None:
    async with open_server() as (fake, server):
        fake.server.pulls.stalls = 1
        await pull(server, stall_seconds=0.5)
        assert fake.server.disconnects == 1
        fake.server.pulls.stalls = 99
        fake.server.pulls.done.clear()
        fake.server.pulls.layers = (("sha256:dd", 1),)
        with pytest.raises(TimedOut, match="said nothing more"):
            await pull(server, "other:1b", stall_seconds=0.1)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("pull model manifest: file does not exist", NotFound),
        ("write /root/.ollama/models/blobs/x: no space left on device", TooLarge),
        ("pull model manifest: 412: this model requires a newer version of Ollama", Conflict),
        ("unauthorized: access denied", UpstreamRejected),
    ],
)
async def test_an_error_line_in_a_200_answer_is_told_as_what_it_means(
    line: str, error: type[Exception]
) -> None:
    async with open_server() as (fake, server):
        fake.server.pulls.errors = [line]
        with pytest.raises(error):
            await pull(server)
        assert fake.server.pulls.asked == ["new:1b"], "asking again would not help"


async def test_an_error_line_of_the_network_is_tried_again() -> None:
    async with open_server() as (fake, server):
        fake.server.pulls.errors = ["max retries exceeded: dial tcp: i/o timeout"]
        await pull(server)
        assert "new:1b" in fake.server.installed


async def test_a_server_that_is_away_or_refuses_is_named() -> None:
    async with open_server() as (fake, server):
        fake.server.pulls.statuses = [500]
        with pytest.raises(UpstreamRejected, match="the registry is away"):
            await pull(server)
    with refusing() as url:
        async with httpx.AsyncClient() as http:
            with pytest.raises(UpstreamUnavailable, match="does not answer"):
                await pull(OllamaModels(http, "ollama", url))
