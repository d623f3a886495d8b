"""The agents tools: every mistake is named, and only an owner changes an agent."""

from collections.abc import Callable
from typing import Any

import pytest

from agents.profile import Profile
from nebula.app import App
from nebula.auth.principal import Caller, Principal, Role, Surface
from nebula.errors import ApprovalRequired, Conflict, InvalidInput, NotFound, PermissionDenied
from nebula.events.triggers import source_of
from nebula.jobs.schedules.timing import Cron
from nebula.owned import slug
from nebula.tool.definition import Audience
from tools.agents.ready import ready_agents

Door = Callable[..., Any]
WATCH = {"name": "watch", "purpose": "Look after the services of this house."}


@pytest.fixture
def door(app: App, caller: Any) -> Callable[[Principal], Door]:
    calls = iter(range(1_000))

    def opened(who: Principal) -> Door:
        async def use(tool: str, /, **arguments: Any) -> Any:
            return await app.executor.execute(
                tool, arguments, caller=caller(who), call_id=f"door-{next(calls)}"
            )

        return use

    return opened


MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    ({}, "Say which features or tools", "There is"),
    ({"features": ["servces"]}, "no feature 'servces'", "Did you mean services"),
    ({"tools": ["gpu_statu"]}, "no tool 'gpu_statu'", "Did you mean gpu_status"),
    ({"features": ["agents"]}, "does not make or change agents", ""),
    ({"tools": ["agents_run"]}, "does not make or change agents", ""),
    ({"features": ["gpu"], "cron": "99 * * * *"}, "The schedule", "Five fields"),
    ({"features": ["gpu"], "cron": "0 7 * * *", "timezone": "Berlin"}, "no time zone", ""),
    ({"features": ["gpu"], "on_event": "job.done"}, "no event 'job.done'", "job.changed"),
    ({"features": ["gpu"], "where": {"a": "b"}}, "`where` filters an event", ""),
    ({"features": ["gpu"], "report_to": "ops"}, "no notification channel 'ops'", "Add one"),
    ({"features": ["gpu"], "limits": {"stps": 3}}, "limits.stps", ""),
    ({"features": ["gpu"], "limits": {"steps": 0}}, "limits.steps", ""),
    ({"features": ["gpu"], "name": "1st"}, "name:", ""),
    ({"from_ready": "morning"}, "no ready-made agent", "morning-report"),
]


async def test_a_mistake_is_named_with_the_nearest_that_there_is(
    door: Any, admin: Principal
) -> None:
    for changes, said, hint in MISTAKES:
        with pytest.raises(InvalidInput) as refused:
            await door(admin)("agents_create", **{**WATCH, **changes})
        assert said in str(refused.value)
        assert hint in refused.value.hint
    assert (await door(admin)("agents_list")).agents == []


async def test_an_agent_gets_nothing_that_its_owner_may_not_do_or_that_only_people_may(
    app: App, door: Any, admin: Principal, developer: Principal
) -> None:
    human = next(tool.name for tool in app.parts.registry if tool.audience is Audience.HUMAN)
    with pytest.raises(PermissionDenied, match="Only a person may use"):
        await door(admin)("agents_create", **WATCH, tools=[human])
    with pytest.raises(PermissionDenied, match="You may use nothing of audit"):
        await door(developer)("agents_create", **WATCH, features=["audit"])
    made = await door(developer)("agents_create", **WATCH, features=["gpu"], tools=["jobs_list"])
    assert made.agent.rights == ["gpu:read", "gpu:write", "jobs:read"]


async def test_an_agent_is_made_scheduled_paused_changed_and_deleted(
    app: App, door: Any, admin: Principal
) -> None:
    use = door(admin)
    made = await use(
        "agents_create",
        **WATCH,
        features=["services"],
        cron="0 7 * * 1-5",
        timezone="Europe/Berlin",
    )
    assert made.agent.when == "on weekdays at 07:00 (Europe/Berlin)"
    assert made.agent.next_run_at is not None
    with pytest.raises(Conflict, match="an agent 'watch' already"):
        await use("agents_create", **WATCH, features=["services"], cron="@daily")
    assert len(await app.parts.schedules.list(admin)) == 1
    paused = await use("agents_update", agent="Watch", action="pause")
    assert (paused.agent.enabled, paused.agent.next_run_at) == (False, None)
    await use("agents_update", agent="watch", action="resume", limits={"steps": 3})
    await use("agents_schedule", agent="watch", every_minutes=15)
    [shown] = (await use("agents_list")).agents
    assert (shown.when, shown.limits.steps, shown.enabled) == ("every 15 minutes", 3, True)
    with pytest.raises(ApprovalRequired) as question:
        await use("agents_delete", agent="watch")
    assert question.value.approval_id
    await app.executor.execute(
        "agents_schedule",
        {"agent": "watch"},
        caller=_at(admin),
        call_id="no-schedule",
    )
    assert await app.parts.schedules.list(admin) == []


async def test_nobody_sees_or_changes_anothers_agent_and_an_administrator_may_pause_it(
    door: Any, admin: Principal, developer: Principal, people: Any
) -> None:
    await door(developer)("agents_create", **WATCH, features=["gpu"])
    other = await people(Role.DEVELOPER, "other")
    assert (await door(other)("agents_list")).agents == []
    with pytest.raises(NotFound):
        await door(other)("agents_run", agent="watch")
    with pytest.raises(PermissionDenied, match="who alone may change it"):
        await door(admin)("agents_update", agent="watch", purpose="Do what the other one says.")
    paused = await door(admin)("agents_update", agent="watch", action="pause")
    assert not paused.agent.enabled


async def test_a_near_name_is_suggested(door: Any, admin: Principal) -> None:
    await door(admin)("agents_create", **WATCH, features=["gpu"])
    with pytest.raises(NotFound) as refused:
        await door(admin)("agents_run", agent="wach")
    assert refused.value.hint == "Did you mean watch?"


async def test_every_ready_agent_can_be_made_here(door: Any, admin: Principal) -> None:
    for name in ready_agents():
        made = await door(admin)("agents_create", from_ready=name)
        assert made.agent.name == name
        assert made.agent.when != "when it is started"
    listed = await door(admin)("agents_list")
    assert (len(listed.agents), listed.ready) == (len(ready_agents()), [])


def test_ready_agents_are_valid_and_named_like_their_file() -> None:
    assert len(ready_agents()) >= 5
    for name, spec in ready_agents().items():
        assert slug(name) == name
        if spec.cron is not None:
            Cron(expression=spec.cron, timezone=spec.timezone)
        if spec.trigger is not None:
            source_of(spec.trigger)
        Profile(name=name, purpose="p", features=frozenset(spec.features), prompt="unattended.md")


SENTENCES: list[tuple[str, str, dict[str, Any]]] = [
    ("run the agent watch", "agents_run", {"agent": "watch"}),
    ("run agent morning report", "agents_run", {"agent": "morning report"}),
    ("list agents", "agents_list", {}),
    ("pause agent watch", "agents_update", {"agent": "watch", "action": "pause"}),
    ("resume the agent watch", "agents_update", {"agent": "watch", "action": "resume"}),
    ("delete the agent watch", "agents_delete", {"agent": "watch"}),
    ("show agent runs", "agents_list_runs", {}),
    ("what did the agent watch do", "agents_list_runs", {"agent": "watch"}),
    (
        "switch on the ready agent service-watch",
        "agents_create",
        {"from_ready": "service-watch"},
    ),
    (
        "run the agent watch every 15 minutes",
        "agents_schedule",
        {"agent": "watch", "every_minutes": 15},
    ),
]


def test_plain_sentences_are_understood_without_a_model(app: App) -> None:
    for said, tool, arguments in SENTENCES:
        found = app.parts.commands.match_exact(said, list(app.parts.registry))
        assert found is not None, said
        assert (found.name, found.arguments) == (tool, arguments)


def _at(who: Principal) -> Any:
    return Caller(who, Surface.REST)
