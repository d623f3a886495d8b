"""What only servers with keys and rate limits do."""

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from nebula.db.engine import Database
from tests.fakes.openai import FakeOpenAI
from tests.fakes.scripted import Script, calls, fail, say
from tests.fakes.serve import serve
from tests.nebula.llm.lab import ask, over, provider, routing


async def test_a_short_wait_that_the_provider_asks_for_is_kept(database: Database) -> None:
    with Script(fail(429, retry_after="0.05"), say("Thanks")) as script:
        async with over(database, openai=FakeOpenAI(script)) as router:
            assert (await ask(router)).text == "Thanks"


async def test_a_wrong_key_is_told_in_the_status_and_the_key_nowhere(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        serve(FakeOpenAI(key="right")) as url,
        routing(database, [provider("openai", url, key="sk-wrong")]) as router,
    ):
        status = await router.status()
    assert status.providers[0].state == "down"
    assert "refused the API key" in status.providers[0].error
    assert "sk-wrong" not in status.model_dump_json() + caplog.text


async def test_the_key_is_sent_as_a_bearer_token(database: Database) -> None:
    app = FakeOpenAI(Script(say("hi")), key="right")
    async with (
        serve(app) as url,
        routing(database, [provider("openai", url, key="right")]) as router,
    ):
        assert (await ask(router)).text == "hi"


async def test_a_server_that_cannot_stream_is_understood(database: Database) -> None:
    class Whole(FakeOpenAI):
        async def _chat(self, request: Request) -> Response:
            request._json = {**await request.json(), "stream": False}
            return await super()._chat(request)

    app = Whole(Script(say("All at once"), calls(("gpu_status", {}), ("jobs_list", {"limit": 1}))))
    async with over(database, openai=app) as router:
        assert (await ask(router)).text == "All at once"
        assert [c["args"] for c in (await ask(router)).tool_calls] == [{}, {"limit": 1}]


async def test_one_connection_serves_many_answers(database: Database) -> None:
    app = FakeOpenAI()
    peers = set()

    async def counting(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            peers.add(scope["client"])
        await app(scope, receive, send)

    async with (
        serve(counting) as url,
        routing(database, [provider("openai", url)]) as router,
    ):
        for _ in range(5):
            await ask(router)
    assert len(peers) == 1
