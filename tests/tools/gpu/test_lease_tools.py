"""Leases as people see them: who holds what, who waits and why, and taking one away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from nebula.auth.principal import Caller, Principal, Surface
from nebula.db.engine import Database
from nebula.errors import ApprovalRequired, NotFound, PermissionDenied, UpstreamUnavailable
from nebula.gpu.leases.lease import Lease
from nebula.gpu.leases.need import GpuNeed
from nebula.gpu.policy.types import PriorityClass
from nebula.policy.labels import Label
from nebula.settings import Settings
from nebula.tool.render import to_markdown
from tests.tools.gpu.test_gpu_tools import SIMULATED
from tools.gpu.queue import GpuLeases, ReleasedLease
from tools.gpu.schemas import GpuStatus

if TYPE_CHECKING:
    from nebula.app import App

CHAT = GpuNeed(service="ollama", model="llama3.1:8b", klass=PriorityClass.CHAT, what="a chat")
SDXL = GpuNeed(service="comfyui", klass=PriorityClass.IMAGE)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    settings.service_map.write_text(SIMULATED)
    return settings


@asynccontextmanager
async def held(app: "App") -> AsyncIterator[Lease]:
    """Hold the chat model while a picture waits for its memory."""
    leases = app.parts.leases
    await leases.look()
    async with leases.hold(CHAT, owner_id="ann", owner_name="ann") as lease:
        waiting = asyncio.create_task(_picture(app))
        async with asyncio.timeout(5):
            while not [w for w in (await leases.rows()).waiting if w.because]:
                await asyncio.sleep(0.02)
        yield lease
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def _picture(app: "App") -> None:
    async with app.parts.leases.hold(SDXL, owner_id="bob", owner_name="bob"):
        pass


async def _run(app: "App", who: Principal, tool: str, call_id: str = "", **arguments: Any) -> Any:
    caller = Caller(who, Surface.REST)
    return await app.executor.execute(
        tool, arguments, caller=caller, call_id=call_id or uuid4().hex
    )


async def _approved(app: "App", who: Principal, **arguments: Any) -> Any:
    with pytest.raises(ApprovalRequired) as waiting:
        await _run(app, who, "gpu_release_lease", "release-1", **arguments)
    await app.parts.approvals.decide(
        waiting.value.approval_id, decision="approve", by=who, surface=Surface.REST
    )
    return await _run(app, who, "gpu_release_lease", "release-1", **arguments)


async def test_gpu_list_leases_names_holders_and_who_waits_and_why(
    app: "App", viewer: Principal
) -> None:
    async with held(app) as lease:
        report: GpuLeases = await _run(app, viewer, "gpu_list_leases")
    (one,) = report.queue.leases
    assert (one.id, one.owner, one.card) == (lease.id, "ann", "lab/0")
    (waits,) = report.queue.waiting
    assert waits.owner == "bob"
    text = to_markdown(report.render())
    assert "One lease is open. 1 request waits." in text
    assert waits.because
    assert "comfyui" in text


async def test_gpu_status_shows_leases_the_line_and_what_was_decided(
    app: "App", viewer: Principal
) -> None:
    async with held(app):
        status: GpuStatus = await _run(app, viewer, "gpu_status")
    assert [v.owner for v in status.queue.leases] == ["ann"]
    assert [w.owner for w in status.queue.waiting] == ["bob"]
    text = to_markdown(status.render())
    assert "Waiting for a GPU" in text
    assert "Decided lately" in text
    elsewhere: GpuStatus = await _run(app, viewer, "gpu_status", node="lab")
    assert elsewhere.queue.leases == []


async def test_gpu_release_lease_works_after_approval_and_the_next_one_gets_the_card(
    app: "App", admin: Principal
) -> None:
    async with held(app) as lease:
        report: ReleasedLease = await _approved(app, admin, lease=lease.id[:8])
        assert report.lease.state == "releasing"
        assert "was told to give up the lease" in to_markdown(report.render())
        async with asyncio.timeout(5):
            await lease.should_yield.wait()
    decided = await app.parts.leases.records.decisions()
    assert "admin released it" in [d.reason for d in decided if d.kind == "release"]


async def test_gpu_release_lease_waits_for_approval(app: "App", admin: Principal) -> None:
    async with held(app) as lease:
        with pytest.raises(ApprovalRequired):
            await _run(app, admin, "gpu_release_lease", lease=lease.id[:8])
        [asked] = await app.parts.approvals.list(admin)
        assert ["whose", "ann"] in asked.evidence.preview[0].model_dump()["rows"]
        assert list(asked.resources) == [f"lease {lease.id}"], "the id, not its beginning"
        assert [v.state for v in (await app.parts.leases.rows()).leases] == ["active"]


async def test_gpu_release_lease_is_denied_to_who_may_only_look(
    app: "App", viewer: Principal
) -> None:
    with pytest.raises(PermissionDenied):
        await _run(app, viewer, "gpu_release_lease", lease="abcd")


async def test_gpu_release_lease_of_an_unknown_lease_says_so(app: "App", admin: Principal) -> None:
    with pytest.raises(NotFound, match="No lease has an id"):
        await _approved(app, admin, lease="abcdef")


async def test_gpu_release_lease_takes_nothing_away_while_the_database_is_down(
    app: "App", admin: Principal
) -> None:
    leases = app.parts.leases
    async with held(app) as lease:
        there, leases.tools.db = leases.tools.db, Database("postgresql://nobody@127.0.0.1:1/none")
        try:
            with pytest.raises(UpstreamUnavailable, match="database"):
                await leases.release(lease.id, admin)
        finally:
            leases.tools.db = there
        assert [v.state for v in (await leases.rows()).leases] == ["active"]
        assert not lease.should_yield.is_set()


async def test_what_a_person_s_switch_unloads_is_kept_with_its_reason(
    app: "App", admin: Principal
) -> None:
    await _run(app, admin, "gpu_switch", service="comfyui")
    await _run(app, admin, "gpu_unload", service="comfyui")
    kept = [(d.kind, d.label, d.reason) for d in await app.parts.leases.records.decisions()]
    unloaded, started, evicted = [k for k in kept if k[0] in {"evict", "start"}]
    assert evicted[:2] == ("evict", "llama3.1:8b") and "comfyui needs" in evicted[2]
    assert started[0] == "start" and "comfyui" in started[1]
    assert unloaded[0] == "evict" and "somebody asked for it" in unloaded[2]


async def test_a_switch_that_has_to_ask_shows_what_it_would_unload(
    app: "App", admin: Principal
) -> None:
    read = frozenset({Label.USER, Label.OUTSIDE})
    caller = Caller(admin, Surface.CHAT, labels=read, by_model=True)
    with pytest.raises(ApprovalRequired) as waiting:
        await app.executor.execute(
            "gpu_switch", {"service": "comfyui"}, caller=caller, call_id="switch-1"
        )
    asked = await app.parts.approvals.get(waiting.value.approval_id, admin)
    assert "comfyui" in to_markdown(asked.evidence.preview)
    assert asked.evidence.origins["service"] == "registry"
    assert asked.tainted
