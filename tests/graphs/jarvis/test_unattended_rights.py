"""Agents act under rights that never grow, and outside text commands them nothing."""

from dataclasses import replace

import pytest

from nebula.auth.principal import Caller, Role, Surface
from nebula.auth.service import Auth
from nebula.db.engine import Database
from nebula.errors import PermissionDenied
from nebula.policy.labels import Label
from nebula.settings import Settings
from tests.graphs.keeper import TOOLS, make, ran, sql, use, worked
from tests.graphs.lab import DONE, call, calls, lab, script


async def test_an_agent_is_offered_and_may_use_only_what_it_was_given(
    settings: Settings, ada: Caller
) -> None:
    policy = script(
        calls(call("lamps_light", name="porch"), call("letters_read"), call("agents_list")),
        "I may not.",
    )
    async with lab(settings, policy, more=TOOLS) as world:
        await make(world, ada, features=[], tools=["lamps_show"])
        run = await ran(world, ada)
        _, offered = world.model.asked[0]
    assert (DONE, run.state) == ([], "done")
    assert sorted(offered) == ["lamps_show", "plan"]


async def test_a_right_that_the_owner_loses_is_lost_to_the_run(
    settings: Settings, database: Database
) -> None:
    auth = Auth(database, settings)
    dan = Caller(await auth.create_user("dan", Role.DEVELOPER), Surface.CHAT)
    policy = script(calls(call("lamps_light", name="porch")), "I may not.")
    async with lab(settings, policy, more=TOOLS) as world:
        await make(world, dan)
        await use(world, dan, "agents_run", agent="keeper")
        await sql(world, "UPDATE users SET role = 'viewer' WHERE name = 'dan'")
        world.app.parts.auth.principals.forget()
        run = await worked(world, dan)
        _, offered = world.model.asked[0]
    assert (DONE, run.state) == ([], "done")
    assert "lamps_show" in offered
    assert "lamps_light" not in offered


async def test_rights_that_the_owner_gains_later_are_none_of_the_agents(
    settings: Settings, ada: Caller, vic: Caller
) -> None:
    policy = script(calls(call("lamps_light", name="porch")), "I may not.")
    async with lab(settings, policy, more=TOOLS) as world:
        await make(world, ada)
        await sql(
            world, "UPDATE agents SET rights = jsonb_set(rights, '{allowed}', '[\"lamps:read\"]')"
        )
        run = await ran(world, ada)
    assert (DONE, run.state) == ([], "done")


async def test_what_the_purpose_says_word_for_word_needs_nobody_after_outside_text(
    settings: Settings, ada: Caller
) -> None:
    policy = script(
        calls(call("letters_read")), calls(call("lamps_light", name="porch")), "Read and lit."
    )
    async with lab(settings, policy, more=TOOLS) as world:
        purpose = "Read the letter, then light the lamp porch."
        await make(world, ada, purpose=purpose, features=["lamps", "letters"])
        run = await ran(world, ada)
    assert (run.state, DONE) == ("done", ["read", "light porch"])


async def test_a_purpose_that_was_written_after_outside_text_vouches_for_nothing(
    settings: Settings, ada: Caller
) -> None:
    policy = script(calls(call("lamps_light", name="porch")))
    async with lab(settings, policy, more=TOOLS) as world:
        after_reading = replace(ada, labels=frozenset({Label.USER, Label.OUTSIDE}))
        await make(world, after_reading, purpose="Look around and light the lamp porch.")
        run = await ran(world, ada)
    assert (run.state, DONE) == ("waiting", [])


async def test_text_from_outside_that_asks_for_more_makes_a_person_decide(
    settings: Settings, ada: Caller
) -> None:
    policy = script(calls(call("letters_read")), calls(call("lamps_light", name="cellar")))
    async with lab(settings, policy, more=TOOLS) as world:
        await make(world, ada, features=["lamps", "letters"])
        run = await ran(world, ada)
        [question] = await world.app.parts.approvals.list(ada.principal)
    assert (run.state, DONE, question.tool) == ("waiting", ["read"], "lamps_light")


async def test_an_agent_neither_makes_nor_starts_agents(settings: Settings, ada: Caller) -> None:
    async with lab(settings, script(), more=TOOLS) as world:
        await make(world, ada)
        itself = Caller(ada.principal, Surface.SCHEDULE, agent="keeper")
        for tool, arguments in (
            ("agents_run", {"agent": "keeper"}),
            ("agents_update", {"agent": "keeper", "features": ["notify"]}),
        ):
            with pytest.raises(PermissionDenied):
                await use(world, itself, tool, **arguments)
