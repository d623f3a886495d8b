"""The kill switch over a real database: what waits, what breaks off, what still works."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nebula.app import App, open_app
from nebula.auth.principal import Caller, Principal, Surface
from nebula.errors import OutcomeUnknown, Paused, RateLimited
from nebula.settings import Settings
from nebula.tool.audit.log import Wanted
from nebula.tool.registry import Registry
from tests.nebula.tool import samples


@pytest.fixture
async def lab(settings: Settings) -> AsyncIterator[App]:
    samples.DONE.clear()
    async with open_app(settings, registry=Registry(samples.ALL)) as app:
        yield app


@pytest.fixture
def ada(admin: Principal) -> Caller:
    return Caller(admin, Surface.REST)


async def run(app: App, ada: Caller, tool: str, **arguments: object) -> object:
    call_id = f"c-{tool}-{len(samples.DONE)}"
    return await app.executor.execute(tool, arguments, caller=ada, call_id=call_id)


async def test_a_pause_stops_effects_until_it_is_released(lab: App, ada: Caller) -> None:
    await lab.parts.judge.pause.throw("ada", "I want to think")
    with pytest.raises(Paused, match=r"ada paused it at .*: I want to think"):
        await run(lab, ada, "sample_write", name="x")
    await run(lab, ada, "sample_look")
    assert samples.DONE == ["look all"]
    assert await lab.parts.judge.pause.release("ada") is not None
    await run(lab, ada, "sample_write", name="x")
    assert samples.DONE == ["look all", "write x"]
    assert await lab.parts.judge.pause.release("ada") is None


async def test_a_pause_thrown_elsewhere_breaks_off_what_runs_here(lab: App, ada: Caller) -> None:
    running = asyncio.create_task(run(lab, ada, "sample_break", name="hang"))
    while not samples.DONE:
        await asyncio.sleep(0.01)
    async with open_app(lab.parts.settings, registry=Registry(samples.ALL)) as other:
        await other.parts.judge.pause.throw("bob", "")
        async with asyncio.timeout(5):
            with pytest.raises(OutcomeUnknown, match="stopped in the middle: bob paused it"):
                await running


async def test_a_refusal_is_on_record(lab: App, ada: Caller) -> None:
    await lab.parts.judge.pause.throw("ada", "")
    with pytest.raises(Paused):
        await run(lab, ada, "sample_write", name="x")
    (line,) = await lab.parts.audit.search(Wanted(tool="sample_write"))
    assert line.outcome == "paused"


@pytest.fixture
async def limited(settings: Settings, tmp_path: Path) -> AsyncIterator[App]:
    samples.DONE.clear()
    policy = tmp_path / "policy.yml"
    policy.write_text("limits: [{name: few, tools: [sample_write], per_day: 3}]")
    with_rules = settings.model_copy(update={"policy": policy})
    async with open_app(with_rules, registry=Registry(samples.ALL)) as app:
        yield app


async def test_calls_at_once_cannot_exceed_a_limit_together(limited: App, ada: Caller) -> None:
    async def write(number: int) -> bool:
        try:
            await limited.executor.execute(
                "sample_write", {"name": str(number)}, caller=ada, call_id=f"w{number}"
            )
        except RateLimited as error:
            assert "few: 3 a day are used up" in str(error)
            return False
        return True

    done = await asyncio.gather(*(write(number) for number in range(8)))
    assert sum(done) == 3 == len(samples.DONE)
