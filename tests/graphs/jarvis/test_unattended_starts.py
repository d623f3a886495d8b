"""What starts an agent starts one run: a tick, an event, a person."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.principal import Caller, Role, Surface
from nebula.auth.service import Auth
from nebula.db.engine import Database
from nebula.errors import Conflict
from nebula.jobs.schedules.launch import Launcher
from nebula.jobs.schedules.ticker import Ticker
from nebula.settings import Settings
from tests.graphs.keeper import (
    TOOLS,
    by_itself,
    make,
    ran,
    use,
    worked,
)
from tests.graphs.lab import call, calls, lab, script
from tools.agents.runs import Runs, Wanted


async def test_a_second_run_is_refused_or_waits_in_line_as_the_agent_says(
    settings: Settings, ada: Caller
) -> None:
    smash = calls(call("lamps_smash", name="a"))
    async with lab(settings, script(smash, "Done."), more=TOOLS) as world:
        await make(world, ada)
        parked = await ran(world, ada)
        with pytest.raises(Conflict, match="still at work"):
            await use(world, ada, "agents_run", agent="keeper")
        skipped = await by_itself(world, ada)
        await use(world, ada, "agents_update", agent="keeper", overlap="queue")
        await use(world, ada, "agents_run", agent="keeper")
        waiting = await worked(world, ada)
        assert parked.session_id is not None
        await world.jarvis.cancel(ada, parked.session_id)
        await world.jarvis.unattended.beat()
        run = await worked(world, ada)
    assert (skipped.state, waiting.state, run.state) == ("skipped", "queued", "done")


async def test_two_tickers_fire_a_tick_once_and_its_job_makes_one_run(
    settings: Settings, ada: Caller
) -> None:
    async def later(session: AsyncSession) -> datetime:
        return datetime.now(UTC) + timedelta(minutes=6)

    async with lab(settings, script("Seen."), more=TOOLS) as world:
        await make(world, ada)
        await use(world, ada, "agents_schedule", agent="keeper", every_minutes=5)
        launch = Launcher(world.app.parts).launch
        tickers = [Ticker(world.app.parts.db, launch, clock=later) for _ in range(2)]
        fired = await asyncio.gather(*(ticker.fire_due() for ticker in tickers))
        [job] = await world.app.parts.jobs.list(ada.principal)
        # The worker's part: the job's call, twice, as after a lost run.
        tick = Caller(ada.principal, Surface.SCHEDULE)
        for _ in range(2):
            await world.app.executor.execute(
                "agents_run", job.arguments, caller=tick, call_id=job.call_id
            )
        run = await worked(world, ada)
        # Even where the record of calls has forgotten it, the tick has had its run.
        again = Wanted(cause=job.call_id, started_by="its schedule", by_itself=True)
        told = await Runs(world.app.parts).ask("keeper", ada.principal, again)
        runs = (await use(world, ada, "agents_list_runs")).runs
    assert (sum(fired), told.id) == (1, run.id)
    assert (len(runs), run.state, run.started_by) == (1, "done", "its schedule")


async def test_an_event_starts_the_agent_once_and_tells_it_what_happened(
    settings: Settings, ada: Caller, vic: Caller
) -> None:
    async with lab(settings, script("A download failed."), more=TOOLS) as world:
        await make(world, ada, on_event="job.changed", where={"state": "failed"}, overlap="queue")
        publish = world.app.parts.events.publish
        job = {"id": "job_1", "tool": "models_download", "note": "rm -rf"}
        await publish("jobs", "job.changed", {**job, "state": "running"}, ada.principal.id)
        await publish("jobs", "job.changed", {**job, "state": "failed"}, ada.principal.id)
        run = await worked(world, ada)
        await world.jarvis.unattended.beat()
        runs = (await use(world, ada, "agents_list_runs")).runs
        heard = str(world.model.asked[0][0][-1].content)
    assert (len(runs), run.state, run.started_by) == (1, "done", "event job.changed")
    assert heard.endswith("job.changed: id job_1, tool models_download, state failed")


async def test_another_persons_events_start_nothing(
    settings: Settings, ada: Caller, database: Database
) -> None:
    auth = Auth(database, settings)
    dan = Caller(await auth.create_user("dan", Role.DEVELOPER), Surface.CHAT)
    async with lab(settings, script(), more=TOOLS) as world:
        await make(world, dan, on_event="job.changed")
        data = {"id": "job_1", "tool": "x", "state": "failed"}
        await world.app.parts.events.publish("jobs", "job.changed", data, ada.principal.id)
        await world.jarvis.unattended.beat()
        runs = (await use(world, dan, "agents_list_runs")).runs
    assert runs == []
