"""The executor over a real database: who may, how often, and what is kept of it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy import select, text, update

from nebula.app import App, open_app
from nebula.auth.principal import Caller, Principal, Surface
from nebula.errors import (
    ApprovalRequired,
    Conflict,
    InternalError,
    InvalidInput,
    NebulaError,
    NotAuthenticated,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    RateLimited,
    UpstreamUnavailable,
)
from nebula.policy.labels import Label
from nebula.settings import Settings
from nebula.tool.models import ApprovalRow, ToolCall
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


@pytest.fixture
def vic(viewer: Principal) -> Caller:
    return Caller(viewer, Surface.REST)


async def approve(app: App, approval_id: str, by: Caller) -> None:
    await app.parts.approvals.decide(
        approval_id, decision="approve", by=by.principal, surface=by.surface
    )


async def ask(app: App, caller: Caller, call_id: str = "c1", **arguments: object) -> str:
    with pytest.raises(ApprovalRequired) as asked:
        await app.executor.execute(
            "sample_destroy", {"name": "x"} | arguments, caller=caller, call_id=call_id
        )
    return asked.value.approval_id


async def outcomes(app: App) -> list[str]:
    return [line.outcome for line in reversed(await app.parts.audit.search())]


async def test_a_read_runs_and_leaves_an_audit_line(lab: App, ada: Caller) -> None:
    result = await lab.executor.execute("sample_look", {"name": "x"}, caller=ada, call_id="c1")
    assert result.model_dump() == {"name": "x"}
    [line] = await lab.parts.audit.search()
    assert (line.tool, line.outcome, line.detail["arguments"]) == (
        "sample_look",
        "ok",
        {"name": "x"},
    )


async def test_an_unknown_tool_is_told_and_audited(lab: App, ada: Caller) -> None:
    with pytest.raises(NotFound, match="no tool 'nothing_here'"):
        await lab.executor.execute("nothing_here", {}, caller=ada, call_id="c1")
    assert await outcomes(lab) == ["not_found"]


async def test_rights_come_before_arguments(lab: App, vic: Caller) -> None:
    with pytest.raises(PermissionDenied):
        await lab.executor.execute("sample_write", b"not json", caller=vic, call_id="c1")
    assert await outcomes(lab) == ["permission_denied"]


async def test_wrong_arguments_name_every_field(lab: App, ada: Caller) -> None:
    with pytest.raises(InvalidInput) as wrong:
        await lab.executor.execute(
            "sample_write", {"nam": "x", "name": 5}, caller=ada, call_id="c1"
        )
    assert {entry["field"] for entry in wrong.value.fields} == {"nam", "name"}


async def test_a_write_with_one_id_runs_once_and_is_told_again(lab: App, ada: Caller) -> None:
    for _ in range(3):
        result = await lab.executor.execute("sample_write", {"name": "x"}, caller=ada, call_id="c")
        assert result.model_dump() == {"name": "x"}
    assert samples.DONE == ["write x"]


async def test_one_id_with_other_arguments_is_a_conflict(lab: App, ada: Caller) -> None:
    await lab.executor.execute("sample_write", {"name": "x"}, caller=ada, call_id="c")
    with pytest.raises(Conflict, match="another call"):
        await lab.executor.execute("sample_write", {"name": "y"}, caller=ada, call_id="c")


async def test_ten_at_once_with_one_id_run_once(lab: App, ada: Caller) -> None:
    calls = [
        lab.executor.execute("sample_write", {"name": "x"}, caller=ada, call_id="c")
        for _ in range(10)
    ]
    told = await asyncio.gather(*calls, return_exceptions=True)
    assert samples.DONE == ["write x"]
    assert all(isinstance(one, samples.Done | Conflict) for one in told)


async def test_destroying_waits_for_a_person_runs_once_and_replays(lab: App, ada: Caller) -> None:
    await approve(lab, await ask(lab, ada), ada)
    for _ in range(2):
        await lab.executor.execute("sample_destroy", {"name": "x"}, caller=ada, call_id="c1")
    assert samples.DONE == ["destroy x"]
    assert await outcomes(lab) == ["approval_required", "ok", "ok"]


async def test_four_resumes_at_once_of_one_approval_run_once(lab: App, ada: Caller) -> None:
    await approve(lab, await ask(lab, ada), ada)
    resumes = [
        lab.executor.execute("sample_destroy", {"name": "x"}, caller=ada, call_id="c1")
        for _ in range(4)
    ]
    await asyncio.gather(*resumes, return_exceptions=True)
    assert samples.DONE == ["destroy x"]


async def test_asking_twice_makes_one_approval(lab: App, ada: Caller) -> None:
    assert await ask(lab, ada) == await ask(lab, ada)
    assert len(await lab.parts.approvals.list(ada.principal)) == 1


@pytest.mark.parametrize(
    "changed", [{"name": "y"}, {"count": 2}, {"password": "other"}, {"password": "first2"}]
)
async def test_an_approval_does_not_cover_changed_arguments(
    lab: App, ada: Caller, changed: dict[str, object]
) -> None:
    await approve(lab, await ask(lab, ada, password="first"), ada)
    arguments = {"name": "x", "password": "first"} | changed
    with pytest.raises(PermissionDenied, match="not the one that was put before a person"):
        await lab.executor.execute("sample_destroy", arguments, caller=ada, call_id="c1")
    assert samples.DONE == []


async def test_one_and_one_point_zero_are_the_same_call(lab: App, ada: Caller) -> None:
    await approve(lab, await ask(lab, ada, count=1), ada)
    body = b'{"count": 1.0, "name": "x"}'
    await lab.executor.execute("sample_destroy", body, caller=ada, call_id="c1")
    assert samples.DONE == ["destroy x"]


async def test_a_denied_call_stays_denied(lab: App, ada: Caller) -> None:
    approval_id = await ask(lab, ada)
    await lab.parts.approvals.decide(
        approval_id, decision="deny", by=ada.principal, surface=Surface.CHAT, comment="too risky"
    )
    for _ in range(2):
        with pytest.raises(PermissionDenied, match="too risky"):
            await lab.executor.execute("sample_destroy", {"name": "x"}, caller=ada, call_id="c1")
    assert samples.DONE == []


async def test_an_expired_approval_runs_nothing(lab: App, ada: Caller) -> None:
    approval_id = await ask(lab, ada)
    await approve(lab, approval_id, ada)
    async with lab.parts.db.session() as session:
        await session.execute(update(ApprovalRow).values(expires_at=text("now() - interval '1 s'")))
    with pytest.raises(Conflict, match="expired"):
        await lab.executor.execute("sample_destroy", {"name": "x"}, caller=ada, call_id="c1")
    assert samples.DONE == []


async def test_who_lacks_the_permission_cannot_approve_or_see(
    lab: App, ada: Caller, vic: Caller
) -> None:
    approval_id = await ask(lab, ada)
    with pytest.raises(NotFound):
        await approve(lab, approval_id, vic)
    assert await lab.parts.approvals.list(vic.principal) == []


async def test_who_lost_the_permission_cannot_approve_their_own_request(
    lab: App, ada: Caller
) -> None:
    approval_id = await ask(lab, ada)
    demoted = replace(ada, principal=replace(ada.principal, permissions=frozenset({"*:read"})))
    with pytest.raises(PermissionDenied, match="needs the permission"):
        await approve(lab, approval_id, demoted)


async def test_an_approval_is_used_up_by_its_first_use(lab: App, ada: Caller) -> None:
    approval_id = await ask(lab, ada)
    await approve(lab, approval_id, ada)
    approval = await lab.parts.approvals.get(approval_id, ada.principal)
    async with lab.parts.db.session() as session:
        await lab.parts.approvals.use(session, approval)
    with pytest.raises(Conflict, match="used already"):
        async with lab.parts.db.session() as session:
            await lab.parts.approvals.use(session, approval)


async def test_a_removed_user_runs_nothing(lab: App, viewer: Principal) -> None:
    await lab.parts.auth.people.delete(viewer.id)
    with pytest.raises(NotAuthenticated):
        await lab.executor.execute(
            "sample_look", {}, caller=Caller(viewer, Surface.REST), call_id="c"
        )
    assert samples.DONE == []


@pytest.mark.parametrize("surface", [Surface.MCP, Surface.SCHEDULE, Surface.SYSTEM])
async def test_a_door_without_a_person_cannot_decide(
    lab: App, ada: Caller, surface: Surface
) -> None:
    approval_id = await ask(lab, ada)
    with pytest.raises(PermissionDenied):
        await lab.parts.approvals.decide(
            approval_id, decision="approve", by=ada.principal, surface=surface
        )


async def test_an_answer_is_given_once(lab: App, ada: Caller) -> None:
    approval_id = await ask(lab, ada)
    answers = [approve(lab, approval_id, ada) for _ in range(4)]
    told = await asyncio.gather(*answers, return_exceptions=True)
    assert sum(one is None for one in told) == 1
    assert sum(isinstance(one, Conflict) for one in told) == 3


async def test_requested_changes_reach_the_caller(lab: App, ada: Caller) -> None:
    approval_id = await ask(lab, ada)
    with pytest.raises(InvalidInput):
        await lab.parts.approvals.decide(
            approval_id, decision="request_changes", by=ada.principal, surface=Surface.CHAT
        )
    await lab.parts.approvals.decide(
        approval_id,
        decision="request_changes",
        by=ada.principal,
        surface=Surface.CHAT,
        comment="only y",
    )
    with pytest.raises(Conflict, match="only y"):
        await lab.executor.execute("sample_destroy", {"name": "x"}, caller=ada, call_id="c1")


async def test_text_from_outside_makes_a_write_wait(lab: App, admin: Principal) -> None:
    labels = frozenset({Label.USER, Label.OUTSIDE})
    read = Caller(admin, Surface.CHAT, labels=labels, by_model=True)
    with pytest.raises(ApprovalRequired):
        await lab.executor.execute("sample_write", {"name": "x"}, caller=read, call_id="c1")
    assert samples.DONE == []


async def test_secrets_stay_out_of_approvals_and_audit(lab: App, ada: Caller) -> None:
    approval_id = await ask(lab, ada, password="hunter2")
    approval = await lab.parts.approvals.get(approval_id, ada.principal)
    kept = approval.model_dump_json() + str(await lab.parts.audit.search())
    async with lab.parts.db.session() as session:
        kept += str((await session.execute(select(ApprovalRow.envelope))).all())
    assert "hunter2" not in kept
    assert approval.arguments["password"] == "**********"


async def test_a_failure_of_the_other_side_is_told_and_told_again(lab: App, ada: Caller) -> None:
    for expected in (UpstreamUnavailable, NebulaError):
        with pytest.raises(expected, match="does not answer") as failed:
            await lab.executor.execute(
                "sample_break", {"name": "upstream"}, caller=ada, call_id="c"
            )
        assert failed.value.payload()["code"] == "upstream_unavailable"
    assert samples.DONE == ["break upstream"]


async def test_a_bug_shows_only_its_reference(lab: App, ada: Caller) -> None:
    with pytest.raises(InternalError) as broken:
        await lab.executor.execute("sample_break", {"name": "bug"}, caller=ada, call_id="c")
    assert "secret detail" not in str(broken.value)
    assert broken.value.reference in str(broken.value)


async def test_an_effect_that_times_out_is_unknown_and_never_tried_again(
    lab: App, ada: Caller
) -> None:
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            await lab.executor.execute("sample_stall", {"name": "x"}, caller=ada, call_id="c")


async def test_a_cancelled_effect_is_unknown(lab: App, ada: Caller) -> None:
    call = asyncio.create_task(
        lab.executor.execute("sample_break", {"name": "hang"}, caller=ada, call_id="c")
    )
    while not samples.DONE:
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    with pytest.raises(OutcomeUnknown):
        await lab.executor.execute("sample_break", {"name": "hang"}, caller=ada, call_id="c")


async def _leave_running(app: App, tool: str) -> None:
    """Leave a call as a crashed process leaves it: begun, past its deadline, never ended."""
    async with app.parts.db.session() as session:
        await session.execute(
            update(ToolCall)
            .where(ToolCall.tool == tool)
            .values(state="running", result=None, deadline=text("now() - interval '1 s'"))
        )


async def test_after_a_crash_an_idempotent_call_runs_again(lab: App, ada: Caller) -> None:
    await lab.executor.execute("sample_write", {"name": "x"}, caller=ada, call_id="c")
    await _leave_running(lab, "sample_write")
    await lab.executor.execute("sample_write", {"name": "x"}, caller=ada, call_id="c")
    assert samples.DONE == ["write x", "write x"]


async def test_after_a_crash_an_opaque_call_is_unknown(lab: App, ada: Caller) -> None:
    await lab.executor.execute("sample_break", {"name": "x"}, caller=ada, call_id="c")
    await _leave_running(lab, "sample_break")
    with pytest.raises(OutcomeUnknown):
        await lab.executor.execute("sample_break", {"name": "x"}, caller=ada, call_id="c")
    assert samples.DONE == ["break x"]


async def test_a_tool_inside_a_tool_is_judged_like_any_other(lab: App, ada: Caller) -> None:
    with pytest.raises(ApprovalRequired) as asked:
        await lab.executor.execute("sample_nested", {"name": "x"}, caller=ada, call_id="c")
    await approve(lab, asked.value.approval_id, ada)
    await lab.executor.execute("sample_nested", {"name": "x"}, caller=ada, call_id="c")
    assert samples.DONE == ["destroy x"]


async def test_a_runaway_loop_is_slowed_down(settings: Settings, admin: Principal) -> None:
    few = settings.model_copy(update={"max_effects_per_minute": 2})
    caller = Caller(admin, Surface.REST)
    async with open_app(few, registry=Registry(samples.ALL)) as app:
        for n in range(2):
            await app.executor.execute("sample_write", {"name": "x"}, caller=caller, call_id=f"{n}")
        with pytest.raises(RateLimited):
            await app.executor.execute("sample_write", {"name": "x"}, caller=caller, call_id="9")


async def test_a_model_is_offered_nothing_it_may_not_use(
    lab: App, admin: Principal, viewer: Principal
) -> None:
    offered = lab.executor.visible(admin, by_model=True, surface=Surface.CHAT)
    assert "sample_person" not in {tool.name for tool in offered}
    seen = lab.executor.visible(viewer, by_model=False, surface=Surface.REST)
    assert {tool.name for tool in seen} == {"sample_look"}
