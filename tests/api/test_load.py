"""Many turns at once against a model server: none is lost, mixed up or crashes a door."""

import httpx
import pytest
from fastapi import FastAPI

from api.server import create_server
from benchmarks.load import drive
from nebula.auth.principal import Role
from nebula.settings import Settings
from tests.fakes.openai import FakeOpenAI
from tests.fakes.serve import serve

TURNS = 200


async def _key(server: FastAPI) -> str:
    auth = server.state.doors.app.parts.auth
    user = await auth.people.create("ada", Role.ADMIN)
    return str((await auth.keys.create(user.id, "load", role=Role.ADMIN)).key)


@pytest.mark.timeout(400)
async def test_two_hundred_turns_at_once_are_all_answered_with_their_own_answer(
    settings: Settings,
) -> None:
    async with serve(FakeOpenAI()) as model:
        known = {
            "openai_base_url": f"{model}/v1",
            "openai_api_key": "unused",
            "model_small": "openai:gpt-test",
            "model_large": "openai:gpt-test",
            "ollama_host": "http://127.0.0.1:9",
        }
        made = create_server(Settings(_env_file=None, **(settings.model_dump() | known)))
        async with serve(made) as url:
            http = httpx.AsyncClient(
                base_url=url,
                headers={"X-API-Key": await _key(made)},
                timeout=240,
                limits=httpx.Limits(max_connections=TURNS + 8),
            )
            async with http:
                figures = await drive(http, TURNS, TURNS)
                told = (await http.get("/metrics")).text
    assert figures.outcomes == {"answered": TURNS}
    assert 'jarvis_model_calls_total{model="gpt-test",outcome="ok",provider="openai"}' in told
