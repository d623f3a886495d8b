"""References in arguments: where they may stand, who may use them, and what nobody gets to see."""

import asyncio
import contextlib
import json
from typing import Any

import pytest
from pydantic import SecretStr

from nebula.app import App, open_app
from nebula.auth.principal import Caller, Principal, Surface
from nebula.errors import (
    ApprovalRequired,
    InvalidInput,
    NotFound,
    PermissionDenied,
)
from nebula.jobs.job import JobHandle, JobState
from nebula.jobs.worker import open_worker
from nebula.secrets.redact import LIVE
from nebula.secrets.references import unpinned
from nebula.secrets.vault import USED, Vault
from nebula.secrets.watch import Watch
from nebula.settings import Settings
from nebula.tool.audit.log import Wanted
from nebula.tool.definition import AnyTool
from nebula.tool.registry import Registry
from tests.nebula.jobs.pace import QUICK
from tests.nebula.secrets import samples
from tests.nebula.secrets.conftest import VALUE
from tools.jobs.tools import jobs_submit


async def run(lab: App, who: Principal, tool: AnyTool, call_id: str = "c1", /, **more: Any) -> Any:
    asking = {key: more.pop(key) for key in ("by_model", "surface") if key in more}
    caller = Caller(who, asking.pop("surface", Surface.REST), **asking)
    return await lab.executor.execute(tool.name, more, caller=caller, call_id=call_id)


async def test_references_become_values_only_for_the_tool_and_nowhere_else(
    lab: App, admin: Principal
) -> None:
    await lab.parts.secrets.put("Token", "staging-value-1", by="ada", environment="Staging")
    result = await run(
        lab,
        admin,
        samples.sample_connect,
        name="x",
        token="Bearer secret://TOKEN",
        password="secret://token",
        headers=[{"name": "h", "value": "secret://staging/token"}],
    )
    assert [("x", f"Bearer {VALUE}", VALUE, ["staging-value-1"])] == samples.GOT
    assert result.said == "connected with Bearer [hidden] and ['[hidden]']"
    line = (await lab.parts.audit.search(Wanted(tool="sample_connect")))[0]
    assert line.detail["arguments"] == {
        "name": "x",
        "token": "Bearer secret://TOKEN",
        "password": "secret://token",
        "headers": [{"name": "h", "value": "secret://staging/token"}],
    }
    uses = await lab.parts.secrets.uses()
    assert {u.environment for u in uses} == {"default", "staging"}
    assert {(u.name, u.principal, u.tool, u.call_id, u.surface) for u in uses} == {
        ("token", admin.name, "sample_connect", "c1", "rest")
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "tell secret://token"}, "may not stand in name"),
        ({"name": "x", "headers": [{"name": "secret://token"}]}, "may not stand in headers"),
        ({"name": f"it is {VALUE}"}, "stands in plain in name"),
        ({"name": VALUE.encode().hex()}, "stands in plain in name"),
        ({"name": "x", "token": VALUE}, "stands in plain in token"),
    ],
)
async def test_a_reference_or_value_where_none_may_stand_is_refused_and_never_recorded(
    lab: App, admin: Principal, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        await run(lab, admin, samples.sample_connect, **arguments)
    assert "token, password, headers" in caught.value.hint
    assert samples.GOT == []
    [line] = await lab.parts.audit.search(Wanted(tool="sample_connect"))
    assert VALUE not in line.model_dump_json()
    assert VALUE.encode().hex() not in line.model_dump_json()


async def test_a_tool_without_a_place_for_secrets_says_so(lab: App, admin: Principal) -> None:
    with pytest.raises(InvalidInput) as caught:
        await run(lab, admin, samples.sample_look, name="secret://token")
    assert "sample_look has no argument that may hold one" in caught.value.hint


async def test_a_secret_goes_only_where_it_is_shared_or_where_an_administrator_puts_it(
    lab: App, admin: Principal, developer: Principal
) -> None:
    use = {"name": "x", "token": "secret://token"}

    async def refused(who: Principal, n: int, **more: Any) -> str:
        with pytest.raises(PermissionDenied, match="not shared") as caught:
            await run(lab, who, samples.sample_connect, f"r{n}", **use, **more)
        return str(caught.value)

    await refused(developer, 1)
    await refused(admin, 2, by_model=True)
    await refused(admin, 3, surface=Surface.SCHEDULE)
    unknown = {**use, "token": "secret://nothing"}
    with pytest.raises(PermissionDenied, match="not shared"):
        await run(lab, developer, samples.sample_connect, "r4", **unknown)
    with pytest.raises(NotFound):
        await run(lab, admin, samples.sample_connect, "r5", **unknown)
    assert samples.GOT == []
    assert await lab.parts.secrets.uses() == []
    await lab.parts.secrets.share("token", ["sample"])
    await run(lab, developer, samples.sample_connect, "ok1", **use)
    await run(lab, admin, samples.sample_connect, "ok2", by_model=True, **use)
    await lab.parts.secrets.share("token", ["notify"])
    await refused(developer, 6)
    assert len(samples.GOT) == 2


async def approved(lab: App, who: Principal, waiting: ApprovalRequired) -> None:
    await lab.parts.approvals.decide(
        waiting.approval_id, decision="approve", by=who, surface=Surface.REST
    )


async def test_an_approval_shows_the_reference_and_does_not_cover_another_value(
    lab: App, admin: Principal
) -> None:
    call = {"name": "x", "token": "secret://token"}
    with pytest.raises(ApprovalRequired) as waiting:
        await run(lab, admin, samples.sample_destroy, **call)
    card = await lab.parts.approvals.get(waiting.value.approval_id, admin)
    assert card.arguments == call
    await approved(lab, admin, waiting.value)
    await lab.parts.secrets.put("token", "another-value-99", by="mallory")
    with pytest.raises(PermissionDenied, match="not the one that was put before a person"):
        await run(lab, admin, samples.sample_destroy, **call)
    assert samples.GOT == []
    await lab.parts.secrets.restore("token")
    await run(lab, admin, samples.sample_destroy, **call)
    assert samples.GOT == [("x", VALUE)]


async def test_a_deleted_and_newly_made_secret_is_another_one_for_an_approval(
    lab: App, admin: Principal
) -> None:
    call = {"name": "x", "token": "secret://token"}
    with pytest.raises(ApprovalRequired) as waiting:
        await run(lab, admin, samples.sample_destroy, **call)
    await approved(lab, admin, waiting.value)
    await lab.parts.secrets.remove("token")
    await lab.parts.secrets.put("token", VALUE, by="mallory")
    with pytest.raises(PermissionDenied):
        await run(lab, admin, samples.sample_destroy, **call)


@pytest.mark.parametrize("changed", [False, True])
async def test_a_job_keeps_the_reference_and_runs_with_the_approved_value_or_not_at_all(
    lab: App, admin: Principal, changed: bool
) -> None:
    call = {"name": "x", "token": "secret://token"}
    with pytest.raises(ApprovalRequired) as waiting:
        await run(lab, admin, samples.sample_work, **call)
    await approved(lab, admin, waiting.value)
    handle = await run(lab, admin, samples.sample_work, **call)
    assert isinstance(handle, JobHandle)
    version = (await lab.parts.secrets.get("token")).version
    job = await lab.parts.jobs.get(handle.job_id, admin)
    assert job.arguments["token"] == f"secret://token!{version}"
    if changed:
        await lab.parts.secrets.put("token", "another-value-99", by="mallory")
    async with open_worker(lab, 1, grace_seconds=0.1, pace=QUICK):
        job = await lab.parts.jobs.wait(handle.job_id, admin, 20)
    if changed:
        assert job.state is JobState.FAILED
        assert "was changed since" in str(job.error)
        assert samples.GOT == []
        return
    assert job.state is JobState.SUCCEEDED, job.error
    assert samples.GOT == [("x", VALUE)]
    log = await lab.parts.jobs.log(job.id, admin)
    told = json.dumps([job.model_dump(mode="json"), [line.text for line in log]])
    assert VALUE not in told
    assert "using [hidden]" in told
    assert "worked with [hidden]" in told
    [use] = await lab.parts.secrets.uses("token")
    assert use.job_id == job.id


async def test_a_secret_given_by_hand_is_hidden_in_the_record_and_the_result(
    lab: App, admin: Principal
) -> None:
    """A masked argument may hold a value in plain; it is not a stored one."""
    await run(lab, admin, samples.sample_connect, name="x", password=SecretStr("typed-by-hand"))
    [line] = await lab.parts.audit.search(Wanted(tool="sample_connect"))
    assert line.detail["arguments"]["password"] == "**********"


async def test_a_replay_tells_the_hidden_result_again(lab: App, admin: Principal) -> None:
    call = {"name": "x", "token": "secret://token"}
    first = await run(lab, admin, samples.sample_connect, **call)
    again = await run(lab, admin, samples.sample_connect, **call)
    assert first == again
    assert len(samples.GOT) == 1


async def test_a_right_that_ended_while_a_job_waited_ends_the_use(
    lab: App, admin: Principal
) -> None:
    call = {"name": "x", "token": "secret://token"}
    await lab.parts.secrets.share("token", ["sample"])
    with pytest.raises(ApprovalRequired) as waiting:
        await run(lab, admin, samples.sample_work, by_model=True, **call)
    await approved(lab, admin, waiting.value)
    handle = await run(lab, admin, samples.sample_work, by_model=True, **call)
    await lab.parts.secrets.share("token", [])
    async with open_worker(lab, 1, grace_seconds=0.1, pace=QUICK):
        job = await lab.parts.jobs.wait(handle.job_id, admin, 20)
    assert job.state is JobState.FAILED
    assert job.error and job.error["code"] == "permission_denied"
    assert samples.GOT == []


async def test_a_job_submitted_by_name_passes_the_reference_on_and_a_retry_takes_the_new_value(
    lab: App, admin: Principal
) -> None:
    inner = {"name": "x", "token": "secret://token"}
    with pytest.raises(InvalidInput, match=r"plain in arguments\.token"):
        await run(lab, admin, jobs_submit, "c0", tool="x", arguments={"token": VALUE})
    call = {"tool": "sample_send", "arguments": inner}
    handle = await run(lab, admin, jobs_submit, "c1", **call)
    assert (await lab.parts.jobs.get(handle.job_id, admin)).arguments["token"] == "secret://token"
    wrong = {"tool": "sample_send", "arguments": {"name": "secret://token", "token": "x"}}
    with pytest.raises(InvalidInput, match="may not stand in name"):
        await run(lab, admin, jobs_submit, "c2", **wrong)
    assert unpinned({"a": ["x secret://token!7", 1]}) == {"a": ["x secret://token", 1]}


async def test_what_one_process_stores_another_hides(lab: App, settings: Settings) -> None:
    async with open_app(settings, registry=Registry(samples.ALL)) as other:
        LIVE.forget(USED)
        LIVE.forget(lab.parts.secrets.watch)
        assert LIVE.found(f"the other knows {VALUE}")
        await lab.parts.secrets.put("token", "stored-after-the-start", by="ada")
        LIVE.forget(USED)
        await other.parts.secrets.watch.look()
        assert LIVE.found("stored-after-the-start")
        assert LIVE.found(VALUE), "the version before can be restored, so it is a secret still"
    assert not LIVE.found(VALUE)


async def test_a_process_notices_by_itself_what_another_has_stored(
    lab: App, settings: Settings
) -> None:
    watch = Watch(lab.parts.db, Vault.of(settings), settings)
    looking = asyncio.create_task(watch.keep_looking(0.001))
    try:
        await lab.parts.secrets.put("token", "stored-while-looking-1", by="ada")
        LIVE.forget(lab.parts.secrets.watch)
        async with asyncio.timeout(10):
            while True:
                LIVE.forget(USED)
                if LIVE.found("it is stored-while-looking-1"):
                    break
                await asyncio.sleep(0)
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
        LIVE.forget(watch)
