"""The policy tools: anybody may look, many may stop everything, few may resume."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nebula.app import App
from nebula.auth.principal import Caller, Principal, Surface
from nebula.errors import ApprovalRequired, InvalidInput, NotFound, Paused, PermissionDenied
from nebula.policy.labels import Label
from nebula.tool.render import to_markdown


async def call(
    app: App, who: Principal, tool: str, /, *, by_model: bool = False, **arguments: object
) -> Any:
    caller = Caller(who, Surface.CHAT, by_model=by_model)
    call_id = f"{tool}-{who.id}-{by_model}-{arguments}"
    return await app.executor.execute(tool, arguments, caller=caller, call_id=call_id)


async def test_policy_explain_answers_for_whoever_asks(
    app: App, admin: Principal, viewer: Principal
) -> None:
    mine = await call(app, admin, "policy_explain", name="gpu_release_lease")
    assert (mine.mine.verdict, mine.mine.rule, mine.level) == (
        "confirm",
        "destructive",
        "destructive",
    )
    theirs = await call(app, viewer, "policy_explain", name="gpu_release_lease")
    assert (theirs.mine.verdict, theirs.mine.rule) == ("block", "permission")
    outside = [a for a in mine.answers if a.role == "admin" and "outside" in a.case]
    assert {a.verdict for a in outside} == {"confirm", "propose"}
    assert "needs the permission gpu:write" in to_markdown(theirs.render())


async def test_an_unknown_tool_has_no_policy(app: App, admin: Principal) -> None:
    with pytest.raises(NotFound):
        await call(app, admin, "policy_explain", name="gpu_explode")


async def test_a_developer_stops_everything_and_only_an_administrator_resumes(
    app: App, admin: Principal, developer: Principal
) -> None:
    stopped = await call(app, developer, "policy_pause", by_model=True, reason="odd noises")
    assert "odd noises" in to_markdown(stopped.render())
    assert "odd noises" in (await call(app, admin, "policy_status")).paused
    with pytest.raises(Paused):
        await call(app, admin, "recall_save", text="x")
    with pytest.raises(PermissionDenied):
        await call(app, developer, "policy_resume")
    with pytest.raises(PermissionDenied, match="Only a person"):
        await call(app, admin, "policy_resume", by_model=True)
    assert not (await call(app, admin, "policy_resume")).paused
    await call(app, admin, "recall_save", text="x")
    assert (await call(app, developer, "policy_status", by_model=True)).paused is None


async def test_policy_status_tells_of_limits_and_of_mistakes(
    app: App, admin: Principal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = app.parts.judge._file
    path = tmp_path / "policy.yml"
    path.write_text("limits: [{name: notes, tools: ['recall_*'], per_day: 2}]")
    monkeypatch.setattr(file, "_path", path)
    monkeypatch.setattr(file, "_looked_at", 0.0)
    await call(app, admin, "recall_save", text="one")
    status = await call(app, admin, "policy_status")
    assert [(use.limit, use.calls, use.per_day) for use in status.limits] == [("notes", 1, 2)]
    path.write_text("limits: [{name: notes}]")
    monkeypatch.setattr(file, "_looked_at", 0.0)
    status = await call(app, admin, "policy_status", by_model=True)
    assert "policy.yml line 1" in status.problems[0]
    assert status.limits, "the last good rules stay in force"


async def test_policy_endorse_lets_one_call_of_this_conversation_use_a_value(
    app: App, admin: Principal
) -> None:
    person = Caller(admin, Surface.CHAT, session_id="s1")
    tainted = frozenset({Label.USER, Label.OUTSIDE})
    model = replace(person, by_model=True, labels=tainted)

    async def remember(call_id: str) -> None:
        await app.executor.execute(
            "recall_save", {"text": "the sky is blue"}, caller=model, call_id=call_id
        )

    given = {"tool": "recall_save", "argument": "text", "value": "The sky is blue."}
    made = await app.executor.execute("policy_endorse", given, caller=person, call_id="e1")
    assert "once in this conversation" in to_markdown(made.render())
    await remember("c1")
    with pytest.raises(ApprovalRequired):
        await remember("c2")


async def test_policy_endorse_is_for_people_and_for_values_that_fit(
    app: App, admin: Principal
) -> None:
    given = {"tool": "notify_send", "argument": "channels", "value": "ops"}
    with pytest.raises(PermissionDenied, match="Only a person"):
        await call(app, admin, "policy_endorse", by_model=True, **given)
    with pytest.raises(InvalidInput, match="Say which conversation"):
        await call(app, admin, "policy_endorse", **given)
    made = await call(app, admin, "policy_endorse", **given, session="s1")
    assert made.endorsement.value == ["ops"]
    for argument, value in (("channels", "not a name!"), ("nothing", "x"), ("message", "x")):
        with pytest.raises(InvalidInput):
            wrong = given | {"argument": argument, "value": value}
            await call(app, admin, "policy_endorse", **wrong, session="s1")
