"""Due schedules become jobs of their owner: real rows, a real worker, nobody's rights grow."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.app import App, open_app
from nebula.auth.grant import READ_ONLY, of_features
from nebula.auth.principal import Principal, Role, Surface
from nebula.errors import PermissionDenied
from nebula.jobs.job import JobState
from nebula.jobs.schedules.launch import Launcher, ticking
from nebula.jobs.schedules.schedule import Schedule, TickState
from nebula.jobs.schedules.service import Options
from nebula.jobs.schedules.ticker import Ticker
from nebula.jobs.schedules.timing import Every, Once
from nebula.jobs.worker import Worker
from nebula.policy.labels import Label
from nebula.settings import Settings
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from nebula.tool.registry import Registry
from tests.nebula.jobs import samples


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    background=True,
    examples=samples.SAYS,
    selectors=["name"],
)
async def sample_rights(ctx: Context, name: samples.Name) -> samples.Made:
    """Tell which rights the run has, as a nested call would find them."""
    who = await ctx.parts.auth.current(ctx.principal)
    may = f"read={who.can('sample:read')} users_write={who.can('users:write')}"
    return samples.Made(name=may)


@pytest.fixture
async def lab(settings: Settings) -> AsyncIterator[App]:
    samples.DONE.clear()
    async with open_app(settings, registry=Registry([*samples.ALL, sample_rights])) as app:
        yield app


class Later:
    """A clock that is some minutes ahead."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC) + timedelta(minutes=2)

    async def __call__(self, session: AsyncSession) -> datetime:
        return self.now


@pytest.fixture
def later() -> Later:
    return Later()


@pytest.fixture
def ticker(lab: App, later: Later) -> Ticker:
    launcher = Launcher(lab.parts)
    return Ticker(lab.parts.db, launcher.launch, launcher.settle, clock=later)


async def once(
    lab: App, owner: Principal, tool: str, name: str = "x", session_id: str | None = None
) -> Schedule:
    at = datetime.now(UTC) + timedelta(minutes=1)
    return await lab.parts.schedules.create(
        owner,
        "soon",
        tool=tool,
        arguments={"name": name},
        timing=Once(at=at),
        options=Options(session_id=session_id),
    )


async def test_a_due_schedule_becomes_a_job_of_its_owner_and_runs(
    lab: App, worker: Worker, admin: Principal, ticker: Ticker
) -> None:
    made = await once(lab, admin, "sample_idempotent")
    assert await ticker.fire_due() == 1
    (tick,) = await lab.parts.schedules.ticks(made.id, admin)
    assert tick.state is TickState.FIRED and tick.job_id is not None
    job = await lab.parts.jobs.wait(tick.job_id, admin, 20)
    assert (job.state, job.owner_id) == (JobState.SUCCEEDED, admin.id)
    assert job.surface == Surface.SCHEDULE
    assert samples.DONE.count("begin x") == 1


async def test_the_ticker_beside_the_workers_fires_by_the_databases_clock(
    lab: App, worker: Worker, admin: Principal
) -> None:
    every = Every(seconds=1, start=datetime.now(UTC))
    made = await lab.parts.schedules.create(
        admin, "often", tool="sample_idempotent", arguments={"name": "x"}, timing=every
    )
    stream, after = "jobs", await lab.parts.events.last("jobs")
    async with ticking(lab.parts, poll_seconds=0.1):
        async for event in lab.parts.events.follow(stream, after):
            if event.data["state"] == "succeeded":
                break
    ticks = await lab.parts.schedules.ticks(made.id, admin)
    assert TickState.FIRED in {tick.state for tick in ticks}


async def test_what_cannot_be_undone_is_proposed_and_runs_once_a_person_approved(
    lab: App, worker: Worker, admin: Principal, ticker: Ticker
) -> None:
    made = await once(lab, admin, "sample_destroy")
    await ticker.fire_due()
    (tick,) = await lab.parts.schedules.ticks(made.id, admin)
    assert tick.state is TickState.PROPOSED and tick.approval_id is not None
    assert await ticker.settle_proposed() == 0
    assert await lab.parts.jobs.list(admin) == []
    await lab.parts.approvals.decide(
        tick.approval_id, decision="approve", by=admin, surface=Surface.CHAT
    )
    assert await ticker.settle_proposed() == 1
    assert await ticker.settle_proposed() == 0
    (job,) = await lab.parts.jobs.list(admin)
    assert (await lab.parts.jobs.wait(job.id, admin, 20)).state is JobState.SUCCEEDED


async def test_what_was_scheduled_after_outside_text_asks_at_every_tick(
    lab: App, admin: Principal, ticker: Ticker, later: Later
) -> None:
    labels = frozenset({Label.USER, Label.OUTSIDE})
    made = await lab.parts.schedules.create(
        admin,
        "soon",
        tool="sample_idempotent",
        arguments={"name": "x"},
        timing=Every(seconds=60, start=datetime.now(UTC)),
        labels=labels,
    )
    assert (await lab.parts.schedules.get(made.id, admin)).labels == labels
    await ticker.fire_due()
    later.now += timedelta(minutes=5)
    await ticker.fire_due()
    ticks = await lab.parts.schedules.ticks(made.id, admin)
    states = [tick.state for tick in ticks if tick.state is not TickState.SKIPPED]
    assert states == [TickState.PROPOSED] * 2
    assert await lab.parts.jobs.list(admin) == []


async def test_a_change_made_after_outside_text_leaves_its_label_on_a_schedule(
    lab: App, admin: Principal, ticker: Ticker
) -> None:
    made = await once(lab, admin, "sample_idempotent")
    labels = frozenset({Label.USER, Label.OUTSIDE})
    await lab.parts.schedules.update(made.id, admin, arguments={"name": "y"}, labels=labels)
    await lab.parts.schedules.update(made.id, admin, name="renamed by hand")
    await ticker.fire_due()
    (tick,) = await lab.parts.schedules.ticks(made.id, admin)
    assert tick.state is TickState.PROPOSED


async def test_a_denied_proposal_never_runs(lab: App, admin: Principal, ticker: Ticker) -> None:
    made = await once(lab, admin, "sample_destroy")
    await ticker.fire_due()
    (tick,) = await lab.parts.schedules.ticks(made.id, admin)
    assert tick.approval_id is not None
    await lab.parts.approvals.decide(
        tick.approval_id, decision="deny", by=admin, surface=Surface.CHAT, comment="not now"
    )
    assert await ticker.settle_proposed() == 1
    (tick,) = await lab.parts.schedules.ticks(made.id, admin)
    assert tick.state is TickState.REFUSED and "not now" in tick.problem
    assert await lab.parts.jobs.list(admin) == []


async def test_an_owner_who_was_disabled_fires_nothing_more(
    lab: App, admin: Principal, developer: Principal, ticker: Ticker
) -> None:
    made = await once(lab, developer, "sample_idempotent")
    await lab.parts.auth.people.update(developer.id, enabled=False)
    assert await ticker.fire_due() == 0
    found = await lab.parts.schedules.get(made.id, admin)
    assert not found.enabled and "owner is gone" in found.stopped_because


async def test_rights_are_frozen_a_promoted_owners_schedule_does_not_grow(
    lab: App, worker: Worker, admin: Principal, developer: Principal, ticker: Ticker
) -> None:
    made = await once(lab, developer, "sample_rights")
    await lab.parts.auth.people.update(developer.id, role=Role.ADMIN)
    assert await ticker.fire_due() == 1
    (tick,) = await lab.parts.schedules.ticks(made.id, admin)
    assert tick.job_id is not None
    job = await lab.parts.jobs.wait(tick.job_id, admin, 20)
    assert job.state is JobState.SUCCEEDED
    assert job.result is not None and job.result["name"] == "read=True users_write=False"


async def test_an_owner_who_lost_the_right_is_refused(
    lab: App, admin: Principal, developer: Principal, ticker: Ticker
) -> None:
    made = await once(lab, developer, "sample_idempotent")
    await lab.parts.auth.people.update(developer.id, role=Role.VIEWER)
    assert await ticker.fire_due() == 0
    (tick,) = await lab.parts.schedules.ticks(made.id, admin)
    assert tick.state is TickState.REFUSED and "sample:write" in tick.problem


async def test_who_acts_with_less_changes_and_resumes_no_schedule_that_does_more(
    lab: App, admin: Principal, developer: Principal
) -> None:
    made = await once(lab, developer, "sample_idempotent")
    agent = developer.narrowed(of_features(["jobs"]))
    await lab.parts.schedules.pause(made.id, agent)
    for change in (
        lab.parts.schedules.resume(made.id, agent),
        lab.parts.schedules.update(made.id, agent, name="another"),
    ):
        with pytest.raises(PermissionDenied, match="sample:write"):
            await change
    assert (await lab.parts.schedules.resume(made.id, developer)).enabled


async def test_a_schedule_made_by_an_agent_keeps_the_agent_s_limits(
    lab: App, worker: Worker, admin: Principal, ticker: Ticker
) -> None:
    made = await once(lab, admin.narrowed(of_features(["sample", "jobs"])), "sample_rights")
    assert await ticker.fire_due() == 1
    (tick,) = await lab.parts.schedules.ticks(made.id, admin)
    assert tick.job_id is not None
    job = await lab.parts.jobs.wait(tick.job_id, admin, 20)
    assert job.result is not None and job.result["name"] == "read=True users_write=False"


async def test_a_job_of_a_session_that_only_looks_by_now_does_not_run(
    lab: App, worker: Worker, admin: Principal, ticker: Ticker
) -> None:
    made = await once(lab, admin, "sample_idempotent", session_id="s1")
    await lab.parts.auth.sessions.put("s1", READ_ONLY)
    assert await ticker.fire_due() == 0
    (tick,) = await lab.parts.schedules.ticks(made.id, admin)
    assert tick.state is TickState.REFUSED and "sample:write" in tick.problem
