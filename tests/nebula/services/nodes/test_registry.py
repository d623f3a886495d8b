"""Who may join, how a node's health is judged, and what its cards look like to the broker."""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from nebula.errors import Conflict, InvalidInput, NotAuthenticated, NotFound
from nebula.services.nodes.node import NodeHealth
from node.protocol import (
    Card,
    CardProcess,
    FoundService,
    Hardware,
    Heartbeat,
    JoinRequest,
    Metrics,
    Renewal,
    digest,
    proof,
)

if TYPE_CHECKING:
    from nebula.app import App

GIB = 1024**3
CARD = Card(index=0, name="RTX 3060", vram_total=12 * GIB, vram_used=4 * GIB)
HARDWARE = Hardware(hostname="pc", os="Linux", cards=(CARD,), tailscale="100.64.0.7")
MAP = "nodes: [{name: here}]\n"


def wish(token: str, name: str = "gaming-pc", url: str = "http://100.64.0.7:8431") -> JoinRequest:
    found = (FoundService("ollama", 11434, reachable=True), FoundService("comfyui", 8188))
    return JoinRequest(token=token, name=name, url=url, hardware=HARDWARE, found=found)


async def joined(app: "App", name: str = "gaming-pc"):
    app.parts.services.path.write_text(MAP)
    token = await app.parts.nodes.create_token("admin")
    return await app.parts.nodes.join(wish(token.token, name))


def beat(**more) -> Heartbeat:
    found = (FoundService("ollama", 11434, reachable=True), FoundService("comfyui", 8188))
    return Heartbeat(nonce="n", metrics=Metrics(cards=(CARD,)), found=found, **more)


async def silent_for(app: "App", seconds: float) -> None:
    async with app.parts.db.session() as s:
        await s.execute(
            text("UPDATE nodes SET heartbeat_at = clock_timestamp() - make_interval(secs => :s)"),
            {"s": seconds},
        )


async def test_a_join_token_works_once_also_when_two_machines_use_it_at_once(app: "App") -> None:
    app.parts.services.path.write_text(MAP)
    token = (await app.parts.nodes.create_token("admin")).token
    tries = [app.parts.nodes.join(wish(token, name)) for name in ("one", "two", "three")]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(r, NotAuthenticated) for r in results) == 2
    assert len(await app.parts.nodes.list()) == 1


async def test_a_token_that_expired_or_was_never_made_lets_nobody_in(app: "App") -> None:
    token = (await app.parts.nodes.create_token("admin")).token
    async with app.parts.db.session() as s:
        await s.execute(text("UPDATE node_join_tokens SET expires_at = clock_timestamp()"))
    for wrong in (token, "nonsense", ""):
        with pytest.raises(NotAuthenticated):
            await app.parts.nodes.join(wish(wrong))
    assert await app.parts.nodes.tokens() == []


async def test_a_machine_that_failed_to_join_leaves_its_token_unused(app: "App") -> None:
    token = (await app.parts.nodes.create_token("admin")).token
    with pytest.raises(InvalidInput, match="plain HTTP"):
        await app.parts.nodes.join(wish(token, url="http://192.168.1.5:8431"))
    with pytest.raises(InvalidInput, match="name a machine"):
        await app.parts.nodes.join(wish(token, name="../etc"))
    await app.parts.nodes.join(wish(token))


async def test_the_database_holds_neither_tokens_nor_secrets_nor_keys(app: "App") -> None:
    app.parts.services.path.write_text(MAP)
    token = (await app.parts.nodes.create_token("admin")).token
    got = await app.parts.nodes.join(wish(token))
    async with app.parts.db.session() as s:
        rows = [
            *await s.execute(text("SELECT * FROM nodes")),
            *await s.execute(text("SELECT * FROM node_join_tokens")),
        ]
    stored = repr(rows)
    assert not [secret for secret in (token, got.secret, got.key) if secret in stored]


async def test_a_heartbeat_needs_the_right_secret_and_is_answered_with_a_proof(app: "App") -> None:
    got = await joined(app)
    for name, secret in (("gaming-pc", "wrong"), ("other", got.secret), ("gaming-pc", got.key)):
        with pytest.raises(NotAuthenticated):
            await app.parts.nodes.heartbeat(name, secret, beat())
    answer = await app.parts.nodes.heartbeat("gaming-pc", got.secret, beat())
    assert answer.proof == proof(digest(got.key), "n")


async def test_health_follows_the_silence_by_the_databases_clock(app: "App") -> None:
    got = await joined(app)
    assert await app.parts.nodes.health("gaming-pc") is NodeHealth.OFFLINE
    await app.parts.nodes.heartbeat("gaming-pc", got.secret, beat())
    assert await app.parts.nodes.health("gaming-pc") is NodeHealth.ONLINE
    await silent_for(app, 8)
    assert await app.parts.nodes.health("gaming-pc") is NodeHealth.LATE
    await silent_for(app, 20)
    assert await app.parts.nodes.health("gaming-pc") is NodeHealth.OFFLINE
    with pytest.raises(NotFound, match="gaming-pc"):
        await app.parts.nodes.health("gaming-pcc")


async def test_a_name_in_use_is_not_taken_over_but_a_silent_machine_may_come_back(
    app: "App",
) -> None:
    first = await joined(app)
    await app.parts.nodes.heartbeat("gaming-pc", first.secret, beat())
    with pytest.raises(Conflict, match="here already"):
        await joined(app)
    await silent_for(app, 60)
    second = await joined(app)
    with pytest.raises(NotAuthenticated):
        await app.parts.nodes.heartbeat("gaming-pc", first.secret, beat())
    await app.parts.nodes.heartbeat("gaming-pc", second.secret, beat())


async def test_a_machine_cannot_take_the_name_of_a_node_of_the_map(app: "App") -> None:
    app.parts.services.path.write_text(MAP)
    token = (await app.parts.nodes.create_token("admin")).token
    with pytest.raises(Conflict, match="service map"):
        await app.parts.nodes.join(wish(token, name="here"))


async def test_a_joined_machine_writes_its_part_of_the_map_until_a_person_takes_it_over(
    app: "App",
) -> None:
    got = await joined(app)
    spec = app.parts.services.map.node("gaming-pc")
    assert spec is not None and spec.address == "100.64.0.7" and spec.gpus[0].vram == 12 * GIB
    assert [s.name for s in app.parts.services.map.on("gaming-pc")] == ["gaming-pc-ollama"]
    file = app.parts.services.path.with_name("service-map.d") / "gaming-pc.yml"
    file.write_text(file.read_text().partition("\n")[2].replace("Ollama", "Big Ollama"))
    more = (
        FoundService("ollama", 11434, reachable=True),
        FoundService("sdwebui", 7860, reachable=True),
    )
    await app.parts.nodes.heartbeat("gaming-pc", got.secret, replace(beat(), found=more))
    assert "Big Ollama" in file.read_text() and "sdwebui" not in file.read_text()
    await app.parts.nodes.remove("gaming-pc")
    assert file.exists(), "what a person wrote stays"


async def test_a_service_found_later_appears_in_the_map_by_itself(app: "App") -> None:
    got = await joined(app)
    more = (FoundService("sdwebui", 7860, reachable=True),)
    await app.parts.nodes.heartbeat("gaming-pc", got.secret, replace(beat(), found=more))
    assert [s.name for s in app.parts.services.map.on("gaming-pc")] == ["gaming-pc-sdwebui"]
    await app.parts.nodes.remove("gaming-pc")
    assert app.parts.services.map.node("gaming-pc") is None


async def test_the_broker_sees_a_remote_card_and_which_service_holds_it(app: "App") -> None:
    got = await joined(app)
    held = (CardProcess(7, "ollama", 3 * GIB, port=11434), CardProcess(8, "game", GIB))
    card = replace(CARD, processes=held)
    told = replace(beat(), metrics=Metrics(cards=(card,)))
    await app.parts.nodes.heartbeat("gaming-pc", got.secret, told)
    seen = (await app.parts.broker.snapshot()).node("gaming-pc")
    assert seen is not None and seen.gpus[0].source == "node" and seen.gpus[0].vram_free == 8 * GIB
    assert [p.service for p in seen.gpus[0].processes] == ["gaming-pc-ollama", None]
    await silent_for(app, 60)
    seen = (await app.parts.broker.snapshot()).node("gaming-pc")
    assert seen is not None and seen.gpus[0].vram_used is None, "a silent node tells nothing of now"


async def test_a_heartbeat_is_told_the_leases_that_hold(app: "App") -> None:
    got = await joined(app)

    async def live(session, name):
        return [Renewal(gpu=0, token=7, seconds=4.5)] if name == "gaming-pc" else []

    app.parts.nodes.live_leases = live
    answer = await app.parts.nodes.heartbeat("gaming-pc", got.secret, beat())
    assert answer.leases == (Renewal(0, 7, 4.5),)
