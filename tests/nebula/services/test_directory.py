"""The directory: a map that follows its files, health that follows the services."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nebula.errors import NotFound, UpstreamUnavailable
from nebula.services.directory import ServiceDirectory, ollama_url
from nebula.services.health import Health
from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.ollama import FakeOllama
from tests.fakes.sdwebui import FakeSdWebUi
from tests.fakes.serve import refusing, serve, silent
from tests.fakes.wire import Wire

MAP = """\
nodes:
  - name: pc
services:
  - {name: ollama, kind: ollama, node: pc, url: "http://ollama.test"}
  - {name: comfyui, kind: comfyui, node: pc, url: "http://comfy.test"}
  - {name: webui, kind: sdwebui, node: pc, url: "http://webui.test"}
  - {name: site, kind: http, node: pc, url: "http://site.test", health: {path: /ok, contains: fine}}
"""


class Heard:
    """Events that were published; `away` plays a database that is down."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.away = False

    async def publish(
        self, stream: str, kind: str, data: dict[str, Any], owner: str | None = None
    ) -> int:
        if self.away:
            raise UpstreamUnavailable("The database does not answer")
        self.events.append((kind, data))
        return len(self.events)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def directory(tmp_path: Path, heard: Heard) -> AsyncIterator[ServiceDirectory]:
    wire = Wire()
    file = tmp_path / "service-map.yml"
    file.write_text(MAP)
    async with httpx.AsyncClient(transport=wire) as http:
        opened = ServiceDirectory(file, http, heard, variables={}, nvidia=lambda: False)
        opened.wire = wire  # type: ignore[attr-defined]
        await opened.refresh()
        yield opened
        await opened.close()


def _mount(directory: ServiceDirectory, address: str, app: Any) -> None:
    directory.wire.mount(address, app)  # type: ignore[attr-defined]


async def _state(directory: ServiceDirectory, name: str) -> tuple[Health, str]:
    (found,) = await directory.health(name, fresh=True)
    return found.state, found.reason


async def test_services_that_answer_as_themselves_are_up(directory: ServiceDirectory) -> None:
    _mount(directory, "http://ollama.test", FakeOllama())
    _mount(directory, "http://comfy.test", FakeComfyUI())
    _mount(directory, "http://webui.test", FakeSdWebUi())
    _mount(directory, "http://site.test", _site(Response("all is fine")))
    found = await directory.health()
    assert [h.state for h in found] == [Health.UP] * 4
    assert all(h.latency_ms is not None for h in found)


async def test_what_answers_in_anothers_place_is_unhealthy(directory: ServiceDirectory) -> None:
    _mount(directory, "http://ollama.test", FakeComfyUI())
    assert await _state(directory, "ollama") == (
        Health.UNHEALTHY,
        "it answers 404, which Ollama would not",
    )
    _mount(directory, "http://comfy.test", _site(JSONResponse({"hello": 1}), "/system_stats"))
    assert await _state(directory, "comfyui") == (
        Health.UNHEALTHY,
        "what answers there is not ComfyUI",
    )
    _mount(directory, "http://comfy.test", _site(Response("<html>"), "/system_stats"))
    assert (await _state(directory, "comfyui"))[0] is Health.UNHEALTHY


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Response("all is fine", 503), "it answers with error 503"),
        (Response("all is fine", 404), "it answers 404, not 200"),
        (Response("all is lost"), "its answer does not contain 'fine'"),
        (Response("fine" * 100_000), "it answers with far too much text"),
    ],
)
async def test_wrong_answers_are_unhealthy_with_a_reason(
    directory: ServiceDirectory, answer: Response, said: str
) -> None:
    _mount(directory, "http://site.test", _site(answer))
    assert await _state(directory, "site") == (Health.UNHEALTHY, said)


async def test_an_sd_webui_without_its_api_says_how_to_start_it(
    directory: ServiceDirectory,
) -> None:
    _mount(directory, "http://webui.test", FakeSdWebUi(api_off=True))
    state, reason = await _state(directory, "webui")
    assert state is Health.UNHEALTHY
    assert "--api" in reason
    _mount(directory, "http://webui.test", FakeSdWebUi(password=True))
    assert "password" in (await _state(directory, "webui"))[1]


async def test_real_ports_that_refuse_are_down_and_silent_ones_slow(tmp_path: Path) -> None:
    with refusing() as refused, silent() as slow:
        text = "nodes: [{name: pc}]\nservices:\n"
        for name, kind, url, limit in [
            ("a", "ollama", refused, 30),
            ("b", "ollama", slow, 0.2),
            ("c", "tcp", refused.replace("http", "tcp"), 30),
            ("d", "tcp", slow.replace("http", "tcp"), 0.2),
        ]:
            text += (
                f'  - {{name: {name}, kind: {kind}, node: pc, url: "{url}", '
                f"health: {{timeout: {limit}}}}}\n"
            )
        async with serve(FakeOllama()) as up, httpx.AsyncClient() as http:
            text += f'  - {{name: e, kind: tcp, node: pc, url: "{up.replace("http", "tcp")}"}}\n'
            file = tmp_path / "service-map.yml"
            file.write_text(text)
            directory = ServiceDirectory(file, http, None, variables={}, nvidia=lambda: False)
            await directory.refresh()
            found = {h.name: h.state for h in await directory.health()}
    assert found == {
        "a": Health.DOWN,
        "b": Health.SLOW,
        "c": Health.DOWN,
        "d": Health.SLOW,
        "e": Health.UP,
    }


async def test_a_service_recovers_by_itself_and_both_changes_are_told(
    directory: ServiceDirectory, heard: Heard
) -> None:
    heard.events.clear()
    assert (await _state(directory, "ollama"))[0] is Health.DOWN
    assert heard.events == [], "the first look is no change"
    _mount(directory, "http://ollama.test", FakeOllama())
    assert (await _state(directory, "ollama"))[0] is Health.UP
    _mount(directory, "http://ollama.test", _site(Response(status_code=500), "/api/version"))
    assert (await _state(directory, "ollama"))[0] is Health.UNHEALTHY
    assert [(k, d["before"], d["now"]) for k, d in heard.events] == [
        ("services.health_changed", "down", "up"),
        ("services.health_changed", "up", "unhealthy"),
    ]


async def test_many_who_ask_at_once_cause_one_check(directory: ServiceDirectory) -> None:
    _mount(directory, "http://ollama.test", FakeOllama())
    await asyncio.gather(*(directory.health("ollama") for _ in range(20)))
    await directory.health("ollama")
    asked = directory.wire.requests  # type: ignore[attr-defined]
    assert len(asked) == 1


async def test_an_unknown_service_is_answered_with_the_known_ones(
    directory: ServiceDirectory,
) -> None:
    with pytest.raises(NotFound) as caught:
        await directory.health("nope")
    assert "comfyui" in caught.value.hint


async def test_an_edit_is_taken_and_a_broken_one_is_not(
    directory: ServiceDirectory, heard: Heard
) -> None:
    _write(directory.path, MAP + "  - {name: new, kind: tcp, node: pc, port: 1}\n")
    assert await directory.refresh()
    assert directory.map.service("new") is not None
    _write(directory.path, MAP + "  - {name: worse, kind: tcp, nod: pc}\n")
    assert not await directory.refresh()
    assert directory.map.service("new") is not None, "the last good map stays"
    assert [(p.line, p.file) for p in directory.problems] == [(8, "service-map.yml")] * 2
    assert heard.events[-1][0] == "services.map_rejected"
    _write(directory.path, MAP)
    assert await directory.refresh()
    assert directory.problems == ()


async def test_a_map_that_vanishes_leaves_the_last_good_one(directory: ServiceDirectory) -> None:
    directory.path.unlink()
    assert not await directory.refresh()
    assert directory.map.service("ollama") is not None
    assert "No such file" in directory.problems[0].message


async def test_an_unreadable_map_at_the_start_leaves_none(tmp_path: Path) -> None:
    file = tmp_path / "service-map.yml"
    file.write_text("nodes: {")
    async with httpx.AsyncClient(transport=Wire()) as http:
        directory = ServiceDirectory(file, http, None, variables={}, nvidia=lambda: False)
        await directory.refresh()
    assert directory.map.services == ()
    assert directory.problems


async def test_a_fragment_that_appears_is_taken(directory: ServiceDirectory) -> None:
    folder = directory.path.with_name("service-map.d")
    folder.mkdir()
    (folder / "far.yml").write_text("nodes:\n  - {name: far, address: 100.64.0.9}\n")
    assert await directory.refresh()
    assert directory.map.node("far") is not None


async def test_events_that_cannot_be_stored_stop_nothing(
    directory: ServiceDirectory, heard: Heard
) -> None:
    heard.away = True
    await _state(directory, "ollama")
    _mount(directory, "http://ollama.test", FakeOllama())
    assert (await _state(directory, "ollama"))[0] is Health.UP


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8000", "http://127.0.0.1:8000"),
        ("box", "http://box:11434"),
        ("http://box", "http://box"),
        ("https://box/ollama/", "https://box/ollama"),
        ("[::1]:99", "http://[::1]:99"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(host: str, url: str) -> None:
    assert ollama_url(host) == url


def _write(file: Path, text: str) -> None:
    """Write with a new time stamp, however coarse the file system's clock is."""
    before = file.stat().st_mtime_ns
    file.write_text(text)
    os.utime(file, ns=(before + 10**9, before + 10**9))


def _site(answer: Response, path: str = "/ok") -> Starlette:
    async def say(_: Any) -> Response:
        return answer

    return Starlette(routes=[Route(path, say)])
