"""The drivers over real sockets: what they understand, and what they make of trouble."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nebula.errors import NebulaError, NotFound, TimedOut, UpstreamRejected, UpstreamUnavailable
from nebula.gpu.drivers.comfyui import ComfyDriver
from nebula.gpu.drivers.driver import Driver
from nebula.gpu.drivers.ollama import OllamaDriver
from nebula.gpu.drivers.sdwebui import SdWebUiDriver
from nebula.gpu.drivers.wire import Wire
from nebula.services.sizes import GIB, MIB
from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.ollama import FakeOllama, Installed
from tests.fakes.sdwebui import FakeSdWebUi
from tests.fakes.serve import refusing, serve, silent

Make = Callable[[Wire], Driver]
KINDS: list[Any] = [
    pytest.param(OllamaDriver, id="ollama"),
    pytest.param(ComfyDriver, id="comfyui"),
    pytest.param(SdWebUiDriver, id="sdwebui"),
]


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as client:
        yield client


@pytest.mark.parametrize("kind", KINDS)
async def test_a_service_that_is_off_is_unavailable_and_says_what_to_start(
    http: httpx.AsyncClient, kind: Make
) -> None:
    unavailable = pytest.raises(UpstreamUnavailable, match="mine does not answer")
    with refusing() as url, unavailable as caught:
        await kind(Wire(http, "mine", url)).inspect()
    assert "Start mine" in caught.value.hint


async def test_a_service_that_says_nothing_times_out(http: httpx.AsyncClient) -> None:
    with silent() as url, pytest.raises(TimedOut, match="did not answer within"):
        await Wire(http, "mine", url).get("/x", seconds=0.1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "answer",
    [
        Response("<html>hello</html>"),
        JSONResponse([1, 2]),
        JSONResponse("words"),
        JSONResponse({"models": 3, "devices": 4}),
        JSONResponse({"error": {"message": "exploded"}}, 500),
        Response(status_code=502),
    ],
)
async def test_nonsense_and_errors_are_rejected_not_believed(
    http: httpx.AsyncClient, kind: Make, answer: Response
) -> None:
    async with serve(_always(answer)) as url:
        driver = kind(Wire(http, "mine", url))
        try:
            held = await driver.inspect()
        except NebulaError as error:
            assert isinstance(error, UpstreamRejected)
        else:
            assert held.residents == ()


async def test_a_read_is_asked_again_when_the_connection_breaks_once(
    http: httpx.AsyncClient,
) -> None:
    asked: list[int] = []

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(1)
        await reader.readuntil(b"\r\n\r\n")
        if len(asked) > 1:
            body = b'{"models": []}'
            head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert (await OllamaDriver(Wire(http, "mine", url)).inspect()).residents == ()
    assert len(asked) == 2


async def test_ollama_loads_embedders_by_their_own_call_and_unloads_all(
    http: httpx.AsyncClient,
) -> None:
    fake = FakeOllama(
        installed={
            "llama": Installed(GIB),
            "nomic:latest": Installed(GIB, capabilities=("embedding",)),
        }
    )
    async with serve(fake) as url:
        driver = OllamaDriver(Wire(http, "ollama", url))
        await driver.load("nomic", seconds=5)
        await driver.load("llama", seconds=5)
        held = await driver.inspect()
        assert {(r.model, r.vram) for r in held.residents} == {("nomic", GIB), ("llama", GIB)}
        assert await driver.models() == ("llama", "nomic")
        await driver.unload(None)
        assert (await driver.inspect()).residents == ()


async def test_ollama_out_of_memory_is_told_in_its_words(http: httpx.AsyncClient) -> None:
    fake = FakeOllama(installed={"big": Installed(9 * GIB)}, vram_total=GIB)
    async with serve(fake) as url:
        with pytest.raises(UpstreamRejected, match="requires more system memory"):
            await OllamaDriver(Wire(http, "ollama", url)).load("big", seconds=5)


async def test_comfyui_counts_pytorchs_idle_buffers_as_used(http: httpx.AsyncClient) -> None:
    card = {
        "name": "cuda:0 NVIDIA GeForce RTX 3060 : native",
        "type": "cuda",
        "vram_total": 12 * GIB,
        "vram_free": 8 * GIB,
        "torch_vram_total": 5 * GIB,
        "torch_vram_free": GIB,
    }
    stats = {"system": {}, "devices": [card]}
    async with serve(_paths({"/system_stats": stats, "/queue": {"queue_running": []}})) as url:
        held = await ComfyDriver(Wire(http, "comfy", url)).inspect()
    assert held.memory is not None
    assert held.memory.free == 7 * GIB
    assert held.residents[0].vram == 5 * GIB
    assert held.busy is False


@pytest.mark.parametrize("vram", [None, -1, True, "7 GB", 2**60])
async def test_odd_figures_are_unknown_and_not_zero(http: httpx.AsyncClient, vram: object) -> None:
    loaded = {"models": [{"name": "x", "size_vram": vram}]}
    async with serve(_paths({"/api/ps": loaded})) as url:
        (resident,) = (await OllamaDriver(Wire(http, "ollama", url)).inspect()).residents
    assert resident.vram is None


async def test_a_comfyui_on_the_processor_holds_no_vram(http: httpx.AsyncClient) -> None:
    async with serve(FakeComfyUI(cpu=True)) as url:
        held = await ComfyDriver(Wire(http, "comfy", url)).inspect()
    assert held.residents == ()
    assert held.memory is None


async def test_a_few_leftover_buffers_are_no_model(http: httpx.AsyncClient) -> None:
    async with serve(FakeComfyUI(held=100 * MIB)) as url:
        assert (await ComfyDriver(Wire(http, "comfy", url)).inspect()).residents == ()


async def test_sd_webui_changes_its_checkpoint_and_says_when_it_has_none_such(
    http: httpx.AsyncClient,
) -> None:
    fake = FakeSdWebUi({"one": GIB, "two": 2 * GIB}, loaded=False)
    async with serve(fake) as url:
        driver = SdWebUiDriver(Wire(http, "webui", url))
        assert await driver.models() == ("one", "two")
        await driver.load("two", seconds=5)
        (resident,) = (await driver.inspect()).residents
        assert resident.vram == 2 * GIB
        with pytest.raises(UpstreamRejected, match="500"):
            await driver.load("three", seconds=5)
        await driver.unload(None)
        assert (await driver.inspect()).residents == ()


async def test_sd_webui_without_cuda_figures_knows_no_card(http: httpx.AsyncClient) -> None:
    async with serve(FakeSdWebUi(cuda=False)) as url:
        held = await SdWebUiDriver(Wire(http, "webui", url)).inspect()
    assert held.memory is None
    assert held.residents == ()


async def test_sd_webui_at_work_is_busy(http: httpx.AsyncClient) -> None:
    async with serve(FakeSdWebUi(job="txt2img")) as url:
        driver = SdWebUiDriver(Wire(http, "webui", url))
        assert (await driver.inspect()).busy is True
        await driver.interrupt()
        assert (await driver.inspect()).busy is False


async def test_ollama_without_a_model_name_asks_for_one(http: httpx.AsyncClient) -> None:
    async with serve(FakeOllama()) as url:
        with pytest.raises(NotFound, match="needs the name of a model"):
            await OllamaDriver(Wire(http, "ollama", url)).load(None, seconds=5)


def _always(answer: Response) -> Starlette:
    async def say(_: Any) -> Response:
        return answer

    return Starlette(routes=[Route("/{path:path}", say, methods=["GET", "POST"])])


def _paths(answers: dict[str, Any]) -> Starlette:
    def route(path: str, document: Any) -> Route:
        async def say(_: Any) -> Response:
            return JSONResponse(document)

        return Route(path, say)

    return Starlette(routes=[route(path, document) for path, document in answers.items()])
