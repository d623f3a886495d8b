"""Ticker processes killed at random while hours pass: no tick is lost, and none fires twice."""

import asyncio
import json
import os
import sys
from collections import Counter
from dataclasses import asdict
from datetime import timedelta

from nebula.jobs.schedules.schedule import Missed
from nebula.packages import checkout
from tests.nebula.jobs.schedules.storm import BEGIN, Made, Plan, Report, check, expected

PLAN = Plan(hours=5, each=1, absence=(0.5, 1.2), kill_every=0.1)


async def test_ticks_fire_once_each_while_four_processes_are_killed_at_random(
    database_url: str,
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.nebula.jobs.schedules.storm",
        json.dumps(asdict(PLAN)),
        stdout=asyncio.subprocess.PIPE,
        cwd=checkout(),
        env={"PATH": os.environ["PATH"], "DATABASE_URL": database_url},
    )
    said, _ = await process.communicate()
    report = Report(**json.loads(said))
    assert (report.lost, report.twice, report.uncalled) == ([], [], [])
    assert report.fired == report.ticks > 200
    assert report.kills_at_work >= 3, "they died in the middle of their work"


def test_the_check_finds_what_was_lost_came_twice_or_was_never_due() -> None:
    one, two = BEGIN + timedelta(minutes=1), BEGIN + timedelta(minutes=2)
    report = Report()
    check(report, {"a": {one, two}}, Counter({("a", one): 2, ("b", one): 1}))
    assert (report.lost, report.twice) == (["a 29 00:02"], ["a 29 00:01"])
    assert (report.uncalled, report.ticks, report.fired) == (["b 29 00:01"], 2, 3)


def test_what_has_to_fire_after_an_absence_follows_the_policy() -> None:
    plan = Plan(hours=3, absence=(1.0, 2.0))
    minutes = tuple(BEGIN + timedelta(minutes=n) for n in range(1, 181))
    found = {m: len(expected(Made("x", m, minutes), plan)) for m in Missed}
    assert found == {Missed.SKIP: 126, Missed.ONCE: 126, Missed.ALL: 180}
    hourly = (BEGIN + timedelta(minutes=50), BEGIN + timedelta(minutes=110))
    assert len(expected(Made("x", Missed.SKIP, hourly), plan)) == 1
    assert len(expected(Made("x", Missed.ONCE, hourly), plan)) == 2
