"""What the agents' parts of the page read: lists, runs, what a form offers, and a schedule in words.

Only reading happens here; every button is a tool call (`ui.chat.calls`).
"""

from contextlib import suppress
from datetime import UTC, datetime
from zoneinfo import available_timezones

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from nebula.auth.principal import Principal, Surface
from nebula.errors import NotFound
from nebula.events.triggers import EVENTS, WEBHOOK
from nebula.jobs.job import Job
from nebula.jobs.schedules.timing import cron_of
from nebula.jobs.schedules.words import coming, in_words
from nebula.tool.definition import Audience, Effect
from tools.agents.board_schemas import Board
from tools.agents.boards import Boards
from tools.agents.runs import Runs
from tools.agents.schemas import Agent, ReadyAgent, Run
from tools.agents.service import Agents
from tools.agents.spec import Limits
from tools.agents.tools_looking import ready_ones
from tools.webhooks.service import Webhooks
from ui.chat import door
from ui.chat.reading import answer

router = APIRouter(include_in_schema=False, prefix="/ui/agents")

MOST_RUNS = 50
_OWN = "agents"


class Listed(BaseModel):
    """What the list of agents shows."""

    me: str
    may_change: bool
    agents: list[Agent]
    ready: list[ReadyAgent]


class RunsRead(BaseModel):
    """Runs as their list shows them."""

    runs: list[Run]


class BoardRead(BaseModel):
    """A task for several agents, and the number of its last event that is in it."""

    number: int
    may_change: bool
    board: Board | None
    """None until the job that puts it up has a worker."""
    job: Job | None


class Described(BaseModel):
    """A tool or feature that an agent may use."""

    name: str
    about: str
    effect: Effect
    """Of a feature, the strongest among its tools."""
    feature: str = ""


class Offered(BaseModel):
    """What the form offers."""

    features: list[Described]
    tools: list[Described]
    events: dict[str, dict[str, list[str]]]
    """By event its fields, each with the values it can have; none where it is any text."""
    zones: list[str]
    limits: Limits


class Preview(BaseModel):
    """A schedule in words, and its next times."""

    words: str
    times: list[datetime]


@router.get("")
async def listed(request: Request) -> JSONResponse:
    """Return the agents of the person signed in, and the ready-made ones."""

    async def read(me: Principal) -> BaseModel:
        found = await Agents(door.app().parts).list(me)
        return Listed(
            me=me.id,
            may_change=me.can("agents:write"),
            agents=found,
            ready=ready_ones(found),
        )

    return await answer(request, "agents:read", read)


@router.get("/runs")
async def runs(request: Request, agent: str = "", run: str = "") -> JSONResponse:
    """Return runs, newest first: of one agent, one run, or all."""

    async def read(me: Principal) -> BaseModel:
        found = Runs(door.app().parts)
        if run:
            return RunsRead(runs=[await found.get(me, run)])
        return RunsRead(runs=list(await found.list(me, agent or None, limit=MOST_RUNS)))

    return await answer(request, "agents:read", read)


@router.get("/boards/{board}")
async def board(request: Request, board: str) -> JSONResponse:
    """Return a board by its id or its job's, and the job that follows it."""

    async def read(me: Principal) -> BaseModel:
        return await _board(me, board)

    return await answer(request, "agents:read", read)


@router.get("/offered")
async def offered(request: Request) -> JSONResponse:
    """Return what an agent of this person may use and wait for."""

    async def read(me: Principal) -> BaseModel:
        shown = _offered(me)
        if me.can("webhooks:read"):
            found = await Webhooks(door.app().parts).list(me)
            shown.events[WEBHOOK] = {"hook": [hook.name for hook in found]}
        else:
            del shown.events[WEBHOOK]
        return shown

    return await answer(request, "agents:read", read)


@router.get("/preview")
async def preview(request: Request, cron: str, timezone: str = "UTC") -> JSONResponse:
    """Return a cron schedule in words with its next times, or what is wrong with it."""

    async def read(_me: Principal) -> BaseModel:
        timing = cron_of(cron, timezone)
        return Preview(words=in_words(timing), times=coming(timing, datetime.now(UTC)))

    return await answer(request, "agents:read", read)


async def _board(me: Principal, wanted: str) -> BoardRead:
    parts = door.app().parts
    found, job, number = None, None, 0
    try:
        found = await Boards(parts).get(me, wanted)
    except NotFound:
        if not wanted.startswith("job_"):
            raise
    if found is not None:
        # The number first: what happens in between is told twice rather than not at all.
        number = await parts.events.last(f"board:{found.id}")
        found = await Boards(parts).get(me, found.id)
    if (job_id := wanted if found is None else found.job_id) is not None:
        with suppress(NotFound):
            job = await parts.jobs.get(job_id, me)
    may = me.can("agents:write")
    return BoardRead(number=number, may_change=may, board=found, job=job)


def _offered(me: Principal) -> Offered:
    # What runs by itself is offered less than a person at the page.
    shown = door.app().executor.visible(me, by_model=True, surface=Surface.SCHEDULE)
    usable = [t for t in shown if t.audience is not Audience.HUMAN and t.feature != _OWN]
    about = door.app().parts.registry.about
    strength = list(Effect)
    features: dict[str, Effect] = {}
    for tool in usable:
        known = features.get(tool.feature, Effect.READ)
        features[tool.feature] = max(known, tool.effect, key=strength.index)
    return Offered(
        features=[
            Described(name=name, about=about.get(name, ""), effect=features[name])
            for name in sorted(features)
        ],
        tools=[
            Described(name=t.name, about=t.summary, effect=t.effect, feature=t.feature)
            for t in sorted(usable, key=lambda t: t.name)
        ],
        events={
            name: {field: list(values or ()) for field, values in source.fields.items()}
            for name, source in EVENTS.items()
        },
        zones=sorted(available_timezones()),
        limits=Limits(),
    )
