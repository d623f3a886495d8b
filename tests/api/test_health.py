"""A database that goes away and comes back, as the doors see it."""

import httpx

from api.server import create_server
from nebula.auth.principal import Role
from nebula.settings import Settings
from tests.api.conftest import SITE, opened
from tests.api.outage import cuttable


async def test_an_unreachable_database_is_named_everywhere_and_comes_back_by_itself(
    settings: Settings,
) -> None:
    async with cuttable(settings.database_url) as (outage, url):
        made = create_server(settings.model_copy(update={"database_url": url}))
        async with (
            opened(made) as server,
            httpx.AsyncClient(transport=httpx.ASGITransport(server), base_url=SITE) as http,
        ):
            auth = server.state.doors.app.parts.auth
            user = await auth.people.create("ada", Role.ADMIN)
            http.headers["X-API-Key"] = (await auth.keys.create(user.id, "x", role=Role.ADMIN)).key
            assert (await http.get("/readyz")).json()["status"] == "ok"
            await outage.begin()
            auth.principals.forget()
            ready = await http.get("/readyz")
            assert ready.status_code == 503 and "database" in ready.json()["checks"]
            assert (await http.get("/healthz")).status_code == 200
            for answer in (
                await http.post("/api/jarvis/chat", json={"message": "who can sign in"}),
                await http.post("/api/tools/users_list", json={}),
                await http.get("/api/sessions"),
            ):
                told = answer.json()
                assert (answer.status_code, told["code"]) == (503, "upstream_unavailable")
                assert told["retryable"] and "database" in told["detail"]
            await outage.end()
            assert (await http.get("/readyz")).json()["status"] == "ok"
            assert (await http.post("/api/tools/users_list", json={})).status_code == 200
