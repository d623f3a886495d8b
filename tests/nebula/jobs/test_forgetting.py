"""Old jobs are forgotten whole, and nothing else is."""

from typing import Any

import pytest
from sqlalchemy import text

from nebula.app import App
from nebula.auth.principal import Caller
from nebula.errors import NotFound
from nebula.jobs.forgetting import forget_old
from nebula.jobs.worker import Worker
from tests.nebula.jobs.conftest import Submit

_LEFT = text(
    "SELECT (SELECT count(*) FROM jobs WHERE id = :id), "
    "(SELECT count(*) FROM job_log WHERE job_id = :id), "
    "(SELECT count(*) FROM events WHERE stream = 'job:' || :id), "
    "(SELECT count(*) FROM event_streams WHERE stream = 'job:' || :id)"
)
_AGE = text("UPDATE jobs SET finished_at = finished_at - interval '10 days' WHERE id = :id")
_BEGAN = text("UPDATE jobs SET created_at = created_at - interval '90 days' WHERE id = :id")


async def left(app: App, job_id: str) -> list[int]:
    async with app.parts.db.session() as session:
        return list((await session.execute(_LEFT, {"id": job_id})).one())


async def test_what_ended_long_ago_goes_with_its_log_and_events_and_the_rest_stays(
    lab: App, worker: Worker, submit: Submit, ended: Any, ada: Caller
) -> None:
    old, young = await submit("report"), await submit("report")
    for handle in (old, young):
        await ended(handle)
    waiting = await submit("hang")
    async with lab.parts.db.session() as session:
        await session.execute(_AGE, {"id": old.job_id})
        await session.execute(_BEGAN, {"id": waiting.job_id})
    before = [await left(lab, handle.job_id) for handle in (young, waiting)]
    assert await forget_old(lab.parts.db, 10.5) == 0
    assert await forget_old(lab.parts.db, 9.5) == 1
    assert await left(lab, old.job_id) == [0, 0, 0, 0]
    after = [await left(lab, handle.job_id) for handle in (young, waiting)]
    assert after[0] == before[0]
    # The one that waits may begin meanwhile, which adds an event.
    assert all(now >= then for now, then in zip(after[1], before[1], strict=True))
    with pytest.raises(NotFound):
        await lab.parts.jobs.get(old.job_id, ada.principal)
