"""Conversations in which Jarvis only looks."""

import httpx

from nebula.app import App
from nebula.auth.principal import Role
from tests.api.conftest import Door
from tests.nebula.tool import samples

JSON = {"Accept": "application/json"}


async def say(http: httpx.AsyncClient, session_id: str, text: str) -> dict[str, object]:
    body = {"message": text, "session_id": session_id}
    answer = await http.post("/api/jarvis/chat", json=body, headers=JSON, timeout=30)
    told: dict[str, object] = answer.json()
    return told


async def test_in_a_read_only_session_jarvis_changes_nothing_until_a_person_says_so(
    browser: Door,
) -> None:
    ada = await browser(Role.ADMIN)
    session = (await ada.post("/api/sessions", json={"read_only": True})).json()
    rights = f"/api/sessions/{session['id']}/rights"
    assert (await ada.get(rights)).json() == {"read_only": True}
    await say(ada, session["id"], "/sample_look porch")
    await say(ada, session["id"], "/sample_write porch")
    assert samples.DONE == ["look porch"]
    assert (await ada.put(rights, json={"read_only": False})).status_code == 200
    await say(ada, session["id"], "/sample_write porch")
    assert samples.DONE == ["look porch", "write porch"]


async def test_a_program_narrows_a_session_and_never_widens_it(program: Door) -> None:
    ci = await program(Role.ADMIN)
    session = (await ci.post("/api/sessions", json={})).json()
    rights = f"/api/sessions/{session['id']}/rights"
    assert (await ci.put(rights, json={"read_only": True})).status_code == 200
    assert (await ci.put(rights, json={"read_only": False})).status_code == 403
    assert (await ci.get(rights)).json() == {"read_only": True}


async def test_nobody_touches_the_rights_of_somebody_else_s_session(
    browser: Door, app: App
) -> None:
    ada, bob = await browser(Role.ADMIN), await browser(Role.DEVELOPER)
    session = (await ada.post("/api/sessions", json={"title": "mine"})).json()
    rights = f"/api/sessions/{session['id']}/rights"
    assert (await bob.get(rights)).status_code == 404
    assert (await bob.put(rights, json={"read_only": True})).status_code == 404
    assert await app.parts.auth.sessions.of(session["id"]) is None
