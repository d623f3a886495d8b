"""The system panel beside the chat: GPUs, services, waiting approvals and jobs, kept fresh."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from api.identity import session_token
from api.notices import notices_of
from nebula.auth.principal import Principal, Surface
from nebula.errors import NebulaError, NotAuthenticated
from nebula.gpu.snapshot import GpuReading, GpuSnapshot, NodeSnapshot
from nebula.jobs.job import JobState
from nebula.markup.text import visible_in
from nebula.notice import Notice
from nebula.tool.approval import Approval
from tools.agents.busy import Busy, busy_agents
from ui.chat import beside, door, elements

OPEN = "nebula:panel"
router = APIRouter(include_in_schema=False)


class Card(BaseModel):
    """A graphics card; sizes in bytes, None where nobody knows."""

    node: str
    name: str
    simulated: bool
    total: int | None
    used: int | None
    utilization: float | None
    temperature: float | None
    holds: list[str]


class ServiceLine(BaseModel):
    """A service and how it is."""

    name: str
    node: str
    health: str
    simulated: bool
    detail: str


class ApprovalLine(BaseModel):
    """A question that waits for a person; `session_id` only where it is their own to open."""

    id: str
    tool: str
    what: str
    level: str
    asked_by: str
    session_id: str | None
    expires_at: datetime


class OfferLine(BaseModel):
    """The offer of a standing grant."""

    id: str
    what: str
    whose: str


class JobLine(BaseModel):
    """A job that waits or runs; why it waits, or what it does."""

    id: str
    tool: str
    state: str
    fraction: float | None
    said: str
    owner: str | None
    session_id: str | None


class AgentLine(BaseModel):
    """An agent that runs, waits for a person, or was switched off by its failures."""

    id: str
    name: str
    state: Literal["running", "queued", "waiting", "off"]
    said: str
    owner: str | None
    session_id: str | None


class PanelState(BaseModel):
    """What the panel shows; None where the person may not look."""

    cards: list[Card] | None = None
    services: list[ServiceLine] | None = None
    approvals: list[ApprovalLine] = []
    notices: list[Notice] = []
    offers: list[OfferLine] = []
    jobs: list[JobLine] | None = None
    agents: list[AgentLine] | None = None
    problems: list[str] = []


@router.get("/ui/panel")
async def state(request: Request) -> JSONResponse:
    """Return what the panel shows to the person signed in."""
    token = session_token(request)
    principal = await door.who_is(token) if token else None
    if principal is None:
        error = NotAuthenticated("Sign in first")
        return JSONResponse(error.payload(), status_code=error.status)
    shown = await _state(principal)
    body = visible_in(shown.model_dump(mode="json"))
    return JSONResponse(body, headers={"Cache-Control": "no-store"})


async def _state(principal: Principal) -> PanelState:
    parts = door.app().parts
    shown = PanelState()
    waiting = await parts.approvals.list(principal, limit=20)
    shown.approvals = [
        ApprovalLine(
            id=one.id,
            tool=one.tool,
            what=", ".join(str(value) for value in one.arguments.values() if value)[:120],
            level=one.level.value,
            asked_by=one.principal_name,
            session_id=one.session_id if _is_chat(one, principal) else None,
            expires_at=one.expires_at,
        )
        for one in waiting
    ]
    shown.notices = await notices_of(parts.db, principal)
    shown.offers = await _offers(principal)
    try:
        if principal.can("jobs:read"):
            shown.jobs = await _jobs(principal)
        if principal.can("agents:read"):
            shown.agents = await _agents(principal)
        if principal.can("gpu:read"):
            shown.cards = list(_cards(await parts.broker.snapshot()))
        if principal.can("services:read"):
            shown.services = await _services()
    except NebulaError as error:
        shown.problems.append(str(error))
    return shown


def _is_chat(one: Approval, principal: Principal) -> bool:
    return one.principal_id == principal.id and one.surface == Surface.CHAT.value


async def _offers(principal: Principal) -> list[OfferLine]:
    if not principal.can("policy:admin"):
        return []
    return [
        OfferLine(
            id=one.id,
            what=f"{one.tool} with {one.said}",
            whose="you" if one.principal_id == principal.id else one.principal_name,
        )
        for one in await door.app().parts.judge.grants.list()
        if one.state == "proposed"
    ]


def _cards(snapshot: GpuSnapshot) -> Sequence[Card]:
    return [_card(node, gpu) for node in snapshot.nodes for gpu in node.gpus]


def _card(node: NodeSnapshot, gpu: GpuReading) -> Card:
    return Card(
        node=node.name,
        name=gpu.name or f"GPU {gpu.index}",
        simulated=gpu.simulated or node.simulated,
        total=gpu.vram_total,
        used=gpu.vram_used,
        utilization=gpu.utilization,
        temperature=gpu.temperature,
        holds=[r.label for r in node.residents if r.gpu == gpu.index],
    )


async def _jobs(principal: Principal) -> list[JobLine]:
    jobs = door.app().parts.jobs
    running = await jobs.list(principal, state=JobState.RUNNING, limit=20)
    waiting = await jobs.list(principal, state=JobState.QUEUED, limit=20)
    return [
        JobLine(
            id=job.id,
            tool=job.tool,
            state="stopping" if job.cancel_requested else job.state.value,
            fraction=job.progress.fraction,
            said=job.waits_because if job.state is JobState.QUEUED else job.progress.message,
            owner=None if job.owner_id == principal.id else job.owner_name,
            session_id=job.session_id if job.owner_id == principal.id else None,
        )
        for job in [*running, *reversed(waiting)]
    ]


async def _agents(principal: Principal) -> list[AgentLine]:
    """Return the agents that a person may want to look at now."""
    return [_agent(one, principal) for one in await busy_agents(door.app().parts, principal)]


def _agent(one: Busy, principal: Principal) -> AgentLine:
    mine, off = one.owner_id == principal.id, one.state == "off"
    return AgentLine(
        id=one.id,
        name=one.name,
        state=one.state,
        said=one.stopped_because if off else "dry run" if one.dry_run else "",
        owner=None if mine else one.owner_name,
        session_id=one.session_id if mine else None,
    )


async def _services() -> list[ServiceLine]:
    found = await door.app().parts.services.health()
    return [
        ServiceLine(
            name=s.name, node=s.node, health=s.state.value, detail=s.reason, simulated=s.simulated
        )
        for s in found
    ]


async def open_beside() -> None:
    """Open the panel beside the chat of the page in context."""
    panel = {**elements.custom("SystemPanel", "system-panel", {}), "forId": ""}
    await beside.put("System", panel, key="system")
