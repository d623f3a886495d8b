"""The event stream: in order, without gaps or repeats over cuts, and only one's own."""

import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from api.server import create_server
from nebula.app import App
from nebula.auth.principal import Role
from nebula.settings import Settings
from tests.api.conftest import Door
from tests.fakes.serve import serve
from tests.fakes.sse import CutReader
from tests.fakes.wire import Wire

Key = Callable[[Role], Awaitable[str]]
CUTS = 60


async def frames(answer: httpx.Response) -> AsyncIterator[dict[str, str]]:
    """Yield the events of an open stream as their fields."""
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield fields
            fields = {}


@pytest.fixture
async def reader(live: str, key: Key) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {await key(Role.VIEWER)}"}
    async with httpx.AsyncClient(base_url=live, headers=headers, timeout=10) as http:
        yield http


async def read(
    http: httpx.AsyncClient, count: int, last: str = "", query: str = "stream=a"
) -> tuple[list[dict[str, object]], str]:
    """Read some events and cut the connection; return them and the last id."""
    found: list[dict[str, object]] = []
    headers = {"Last-Event-ID": last} if last else {}
    async with http.stream("GET", f"/api/events?{query}", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for fields in frames(answer):
            found.append(json.loads(fields["data"]))
            last = fields["id"]
            if len(found) == count:
                break
    return found, last


async def test_a_reader_that_is_cut_off_again_and_again_misses_and_repeats_nothing(
    reader: httpx.AsyncClient, app: App
) -> None:
    seen: list[object] = []
    last = ""
    for cut in range(CUTS):
        for number in range(3):
            await app.parts.events.publish("a", "counted", {"n": cut * 3 + number})
        found, last = await read(reader, 1 + cut % 3, last)
        seen += [event["data"]["n"] for event in found]  # type: ignore[index]
    left = 3 * CUTS - len(seen)
    found, last = await read(reader, left, last)
    seen += [event["data"]["n"] for event in found]  # type: ignore[index]
    assert seen == list(range(3 * CUTS))


async def test_several_streams_share_a_connection_and_resume_each_at_its_place(
    reader: httpx.AsyncClient, app: App
) -> None:
    query = "stream=a&stream=b%20c"
    for n in range(2):
        await app.parts.events.publish("a", "counted", {"n": n})
        await app.parts.events.publish("b c", "counted", {"n": n})
    found, last = await read(reader, 3, query=query)
    more, _ = await read(reader, 1, last, query=query)
    places = sorted((str(e["stream"]), int(str(e["seq"]))) for e in found + more)
    assert places == [("a", 1), ("a", 2), ("b c", 1), ("b c", 2)]


async def test_events_of_others_are_left_out(
    reader: httpx.AsyncClient, app: App, live: str, key: Key
) -> None:
    me = (await reader.get("/api/auth/me")).json()["id"]
    for owner in ("usr_other", me, None):
        await app.parts.events.publish("a", "told", {"to": owner}, owner=owner)
    found, _ = await read(reader, 2)
    assert [event["data"] for event in found] == [{"to": me}, {"to": None}]
    headers = {"Authorization": f"Bearer {await key(Role.ADMIN)}"}
    async with httpx.AsyncClient(base_url=live, headers=headers) as admin:
        assert len((await read(admin, 3))[0]) == 3


async def test_revoking_the_reader_ends_an_open_stream(reader: httpx.AsyncClient, app: App) -> None:
    await app.parts.events.publish("a", "counted", {"n": 1})
    told: list[dict[str, str]] = []
    async with reader.stream("GET", "/api/events?stream=a") as answer:
        async for fields in frames(answer):
            told.append(fields)
            if len(told) == 1:
                await app.parts.auth.people.update("viewer-program", enabled=False)
    assert [fields["event"] for fields in told] == ["counted", "error"]
    assert json.loads(told[-1]["data"])["error"]["code"] == "not_authenticated"


@pytest.mark.parametrize(
    ("query", "last", "status"),
    [
        ("", "", 422),
        ("stream=" + "x" * 201, "", 422),
        ("stream=", "", 422),
        ("&".join(f"stream=s{n}" for n in range(21)), "", 422),
        ("stream=a", "a=x", 400),
        ("stream=a", "a=-1", 400),
        ("stream=a", "a=" + "9" * 30, 400),
    ],
)
async def test_a_malformed_subscription_is_refused(
    program: Door, query: str, last: str, status: int
) -> None:
    vic = await program(Role.VIEWER)
    answer = await vic.get(f"/api/events?{query}", headers={"Last-Event-ID": last})
    assert answer.status_code == status


async def test_lines_cut_at_any_byte_and_a_new_server_lose_and_repeat_nothing(
    settings: Settings, wire: Wire, key: Key, app: App
) -> None:
    dice, published = random.Random(7), 0
    one = CutReader("/api/events?stream=a", await key(Role.VIEWER))
    two = CutReader("/api/events?stream=a&stream=b", one.key)

    async def publish() -> None:
        nonlocal published
        for _ in range(dice.choice((1, 2, 9))):
            published += 1
            for stream in ("a", "b"):
                text = "x" * dice.randrange(400)
                await app.parts.events.publish(stream, "n", {"n": published, "text": text})

    for _ in range(2):
        made = create_server(settings, http_transport=wire)
        async with serve(made) as url:
            for _ in range(25):
                await publish()
                await one.read(url, dice.randrange(600, 4000), seconds=0.15)
                await two.read(url, dice.randrange(600, 6000), seconds=0.15)
            while len(one.seen) < published:
                await one.read(url, 10**6, seconds=0.3)
            while len(two.seen) < 2 * published:
                await two.read(url, 10**6, seconds=0.3)
    assert one.gaps_and_repeats() == two.gaps_and_repeats() == (0, 0)
    assert [seq for _, seq, _ in one.seen] == [data["n"] for _, _, data in one.seen]
