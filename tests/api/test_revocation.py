"""What somebody has open ends within a second of their rights ending, over real sockets."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

import httpx
import pytest

from nebula.app import App
from nebula.auth.cookies import COOKIE
from nebula.auth.principal import Role
from nebula.auth.service import Auth
from nebula.db.engine import Database
from nebula.settings import Settings

Revoke = Callable[[Auth], Awaitable[object]]
SOON = 1.5
"""A second, and what a busy machine may add."""


async def _disable(auth: Auth) -> None:
    await auth.people.update("vic", enabled=False)


async def _demote(auth: Auth) -> None:
    await auth.people.update("vic", role=Role.CLIENT)


async def _sign_out_everywhere(auth: Auth) -> None:
    await auth.logins.end_all((await auth.people.find("vic")).id)


async def _revoke_keys(auth: Auth) -> None:
    for key in await auth.keys.list((await auth.people.find("vic")).id):
        await auth.keys.revoke(key.id)


CASES: list[tuple[str, Revoke, str]] = [
    ("cookie", _disable, "not_authenticated"),
    ("cookie", _sign_out_everywhere, "not_authenticated"),
    ("cookie", _demote, "permission_denied"),
    ("key", _revoke_keys, "not_authenticated"),
    ("key", _demote, "permission_denied"),
]


@pytest.fixture
async def vic(app: App) -> dict[str, dict[str, str]]:
    """Make a person, and what they show: by a browser and by a program."""
    user = await app.parts.auth.people.create("vic", Role.DEVELOPER)
    token = (await app.parts.auth.logins.open(user.id)).token
    key = (await app.parts.auth.keys.create(user.id, "ci", role=Role.ADMIN)).key
    return {"cookie": {"Cookie": f"{COOKIE}={token}"}, "key": {"Authorization": f"Bearer {key}"}}


async def _streams(live: str, headers: dict[str, str]) -> dict[str, str]:
    async with httpx.AsyncClient(base_url=live, headers=headers | {"Origin": live}) as http:
        job = await http.post("/api/tools/sample_bake", json={"name": "hang"})
    return {"events": "/api/events?stream=a", "job": f"/api/jobs/{job.json()['job_id']}/events"}


async def _end_of(live: str, path: str, headers: dict[str, str], opened: asyncio.Event) -> str:
    """Follow a stream to its end, and return the code it ended with."""
    code = ""
    async with (
        httpx.AsyncClient(base_url=live, headers=headers, timeout=10) as http,
        http.stream("GET", path) as answer,
    ):
        assert answer.status_code == 200
        opened.set()
        event = ""
        async for line in answer.aiter_lines():
            event = line.removeprefix("event: ") if line.startswith("event: ") else event
            if line.startswith("data: ") and event == "error":
                code = json.loads(line.removeprefix("data: "))["error"]["code"]
    return code


@pytest.mark.parametrize(("by", "revoke", "code"), CASES)
async def test_open_streams_end_within_a_second_of_a_change_made_by_another_process(
    live: str,
    vic: dict[str, dict[str, str]],
    database: Database,
    settings: Settings,
    by: str,
    revoke: Revoke,
    code: str,
) -> None:
    paths = await _streams(live, vic[by])
    signs = {name: asyncio.Event() for name in paths}
    following = [
        asyncio.create_task(_end_of(live, path, vic[by], signs[name]))
        for name, path in paths.items()
    ]
    for sign in signs.values():
        await asyncio.wait_for(sign.wait(), 5)
    await revoke(Auth(database, settings))
    began = time.monotonic()
    ended = await asyncio.wait_for(asyncio.gather(*following), 5)
    assert ended == [code, code]
    assert time.monotonic() - began < SOON
