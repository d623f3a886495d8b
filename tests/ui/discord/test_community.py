"""The community bot on a fake Discord: real client, real REST, real rows; one server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from nebula.errors import Conflict, InvalidInput, NotFound, PermissionDenied, UpstreamUnavailable
from nebula.tool.audit.log import Wanted
from nebula.tool.render import to_markdown
from tests.fakes.discord.payloads import CHIEFS, CREW, GENERAL, GUILD, HELPERS, QUIET
from tests.fakes.discord.people import Person
from tests.ui.discord.house import DISCORD, House
from tools.discord.community.actions import Action, Actions
from tools.discord.community.counting import Counts, Tally
from tools.discord.community.rules import Community
from tools.discord.community.store import Communities
from tools.discord.servers import Servers

pytestmark = pytest.mark.asyncio(loop_scope="module")
MORE_TOOLS = DISCORD


@pytest_asyncio.fixture(loop_scope="module")
async def boss(home: House) -> AsyncIterator[Person]:
    """Make an administrator; nothing is set on the server before, nor after."""
    who = await home.person()
    async with asyncio.timeout(10):
        while await Servers(home.app.parts.db).of(GUILD) is None:
            await asyncio.sleep(0.02)
    yield who
    fake = home.discord.community
    fake.forbidden.clear()
    fake.failing.clear()
    await _set(home, lambda _: Community())


async def _set(home: House, change: Callable[[Community], Community]) -> None:
    who = home.principals[next(reversed(home.principals))]
    await Communities(home.app.parts.db).change(GUILD, who, change)
    await _heard_of_it(home)


async def _heard_of_it(home: House) -> None:
    """Wait until the bot knows the settings of now."""
    store = Communities(home.app.parts.db)
    version = await store.changed()
    bots = [task for task in asyncio.all_tasks() if task.get_name() == "discord-community"]
    assert bots
    community = bots[0].get_coro().cr_frame.f_locals["self"]  # type: ignore[union-attr]
    await home.discord.until(lambda: community._version == version or None)


async def enforced(home: House, boss: Person, *steps: str, **rules: Any) -> None:
    if rules:
        await home.use(boss, "discord_set_moderation", **rules)
    await home.approved(boss, "discord_enforce_moderation", steps=list(steps) or None)
    await _heard_of_it(home)


def member(home: House, *roles: str) -> Person:
    who = home.stranger(roles=roles)
    home.discord.community.enter(who.id, who.name, roles)
    return who


async def settled(home: House, who: Person, count: int) -> list[Action]:
    """Wait until so many things about somebody are no longer due."""
    actions = Actions(home.app.parts.db)
    async with asyncio.timeout(10):
        while True:
            kinds = ("warn", "delete", "timeout", "kick", "ban", "role", "welcome", "reply")
            found = await actions.list(GUILD, target=who.id, kinds=kinds)
            if len(found) >= count and all(a.state not in {"due", "doing"} for a in found):
                return found
            await asyncio.sleep(0.02)


async def test_switched_on_it_only_tells_what_it_would_do(home: House, boss: Person) -> None:
    shown = await home.use(boss, "discord_set_settings", moderation="tell", log_channel="quiet")
    assert "only tells" in to_markdown(shown.render())
    await _heard_of_it(home)
    eve = member(home)
    seen = await eve.says("join discord.gg/abc", GENERAL)
    log = await home.answer(QUIET, "would have warned")
    assert eve.name in log.text
    assert log.doc["allowed_mentions"]["parse"] == []
    found = await settled(home, eve, 2)
    assert {(each.kind, each.state) for each in found} == {("delete", "told"), ("warn", "told")}
    assert seen.doc["id"] in home.discord.messages
    listed = to_markdown((await home.use(boss, "discord_list_actions", member=eve.id)).render())
    assert "Invitations to other servers" in listed
    assert "discord.gg/abc" not in listed, "no text of a message is kept"
    strikes = Actions(home.app.parts.db).strikes
    assert await strikes(GUILD, eve.id, 1, told=True) == 1
    assert await strikes(GUILD, eve.id, 1, told=False) == 0, "nobody was really warned"


async def test_acting_has_to_be_approved_and_then_climbs_from_warning_to_ban(
    home: House, boss: Person
) -> None:
    await enforced(home, boss, "warn", "timeout 10", "ban", add_words=["scam"])
    eve, fake = member(home), home.discord.community
    for n, done in enumerate(
        [
            lambda: home.answer(GENERAL, f"⚠ <@{eve.id}> The word “scam”"),
            lambda: home.discord.until(lambda: 9 < fake.silent_for(eve.id) <= 10),
            lambda: home.discord.until(lambda: eve.id in fake.banned),
        ]
    ):
        seen = await eve.says("what a ѕсаm", GENERAL)  # noqa: RUF001 - Cyrillic letters
        await done()
        await settled(home, eve, 2 * (n + 1))
        assert seen.doc["id"] in fake.deleted
    audit = await home.app.parts.audit.search(Wanted(tool="discord_act"))
    assert {line.surface for line in audit} == {"system"}
    assert {line.principal for line in audit} >= {boss.name}


async def test_a_flood_is_removed_together_and_punished_once(home: House, boss: Person) -> None:
    await enforced(home, boss, "timeout 5", "ban", repeats=3, messages=0)
    eve, fake = member(home), home.discord.community
    for _ in range(5):
        await eve.says("buy cheap things", GENERAL)
    await home.discord.until(lambda: fake.silent_for(eve.id) > 4)
    found = await settled(home, eve, 4)
    assert [each.kind for each in found if each.offence] == ["timeout"]
    assert (
        len([seen for seen in home.discord.messages.values() if seen.doc["author"]["id"] == eve.id])
        == 0
    )


async def test_moderators_the_owner_bots_and_those_above_are_left_alone(
    home: House, boss: Person
) -> None:
    await enforced(home, boss, "ban")
    above, helper = member(home, CHIEFS), member(home, HELPERS)
    robot, plain = home.stranger(bot=True), member(home)
    for who in (above, helper, robot, plain):
        await who.says("discord.gg/abc", GENERAL)
    await settled(home, plain, 2)
    assert home.discord.community.banned >= {plain.id}
    assert home.discord.community.banned.isdisjoint({above.id, helper.id, robot.id})


async def test_what_a_message_is_changed_to_is_judged_too(home: House, boss: Person) -> None:
    await enforced(home, boss, "warn")
    eve = member(home)
    seen = await eve.says("good morning", GENERAL)
    changed = {**seen.doc, "content": "discord.gg/abc", "edited_timestamp": seen.doc["timestamp"]}
    from tests.fakes.discord import payloads

    await home.discord.gateway.dispatch(
        "MESSAGE_UPDATE", {**changed, "member": payloads.member(eve.roles)}
    )
    await home.discord.until(lambda: seen.doc["id"] in home.discord.community.deleted)


async def test_a_missing_permission_is_named_and_nothing_else_breaks(
    home: House, boss: Person
) -> None:
    await enforced(home, boss, "ban")
    home.discord.community.forbidden.add("bans")
    eve = member(home)
    await eve.says("discord.gg/abc", GENERAL)
    found = {each.kind: each for each in await settled(home, eve, 2)}
    assert found["delete"].state == "done"
    assert found["ban"].state == "failed"
    assert "lacks the permission Ban Members" in found["ban"].problem


async def test_discord_may_be_slow_and_broken_for_a_while(home: House, boss: Person) -> None:
    await enforced(home, boss, "timeout 5")
    home.discord.community.failing += [429, 500]
    eve = member(home)
    seen = await eve.says("discord.gg/abc", GENERAL)
    found = await settled(home, eve, 2)
    assert {each.state for each in found} == {"done"}
    assert seen.doc["id"] in home.discord.community.deleted


async def test_a_time_out_and_a_ban_can_be_undone_and_a_kick_cannot(
    home: House, boss: Person
) -> None:
    fake = home.discord.community
    eve, mal, bob = member(home), member(home), member(home)
    out = (await home.approved(boss, "discord_moderate", action="timeout", member=eve.name)).action
    banned = (await home.approved(boss, "discord_moderate", action="ban", member=mal.id)).action
    kicked = (await home.approved(boss, "discord_moderate", action="kick", member=bob.id)).action
    assert fake.silent_for(eve.id) > 59
    assert mal.id in fake.banned
    assert bob.id in fake.kicked
    for each in (out, banned):
        done = await home.use(boss, "discord_undo_action", action=each.id)
        assert done.action.state == "undone"
    assert fake.silent_for(eve.id) == 0
    assert mal.id not in fake.banned
    with pytest.raises(Conflict, match="cannot take back"):
        await home.use(boss, "discord_undo_action", action=kicked.id)
    with pytest.raises(Conflict, match="nothing to take back"):
        await home.use(boss, "discord_undo_action", action=out.id)


async def test_discord_moderate_refuses_the_protected_the_unknown_and_the_ambiguous(
    home: House, boss: Person
) -> None:
    helper = member(home, HELPERS)
    home.discord.community.enter("8801", "twin")
    home.discord.community.enter("8802", "twin")
    for whom, error in [
        (helper.id, PermissionDenied),
        ("nobody here", NotFound),
        ("twin", InvalidInput),
    ]:
        with pytest.raises(error):
            await home.use(boss, "discord_moderate", action="ban", member=whom)
    from nebula.auth.principal import Role

    viewer = await home.person(Role.VIEWER)
    with pytest.raises(PermissionDenied):
        await home.use(viewer, "discord_moderate", action="ban", member=helper.id)


async def test_discord_moderate_says_when_discord_is_down(home: House, boss: Person) -> None:
    eve = member(home)
    home.discord.community.failing += [500] * 3
    with pytest.raises(UpstreamUnavailable):
        await home.use(boss, "discord_moderate", action="ban", member=eve.id)
    assert eve.id not in home.discord.community.banned
    # Down in the very moment: told as failed, and not done behind anybody's back later.
    actions = Actions(home.app.parts.db)
    made = Action(id="act_down", guild_id=GUILD, kind="ban", target_id=eve.id, by=boss.name)
    await actions.decide(made)
    home.discord.community.failing += [500] * 3
    with pytest.raises(UpstreamUnavailable):
        await home.use(boss, "discord_act", action=made.id)
    assert (await actions.get(made.id)).state == "failed"
    assert eve.id not in home.discord.community.banned


async def test_rules_that_are_switched_off_meanwhile_are_not_carried_out(
    home: House, boss: Person
) -> None:
    actions = Actions(home.app.parts.db)
    eve = member(home)
    late = Action(id="act_late", guild_id=GUILD, kind="ban", target_id=eve.id, offence=True)
    await actions.decide(late)
    done = await home.use(boss, "discord_act", action="act_late")
    assert done.action.state == "dropped"
    assert eve.id not in home.discord.community.banned


async def test_of_many_who_carry_out_the_same_thing_one_does(home: House, boss: Person) -> None:
    actions, eve = Actions(home.app.parts.db), member(home)
    made = Action(
        id="act_once", guild_id=GUILD, kind="timeout", target_id=eve.id, detail={"minutes": 5}
    )
    await actions.decide(replaced(made, by="ann"))
    assert not await actions.decide(made)
    taken = await asyncio.gather(*(actions.take("act_once") for _ in range(8)))
    assert sum(each is not None for each in taken) == 1


def replaced(action: Action, **values: Any) -> Action:
    return action.model_copy(update=values)


async def test_new_members_are_greeted_and_get_their_role(home: House, boss: Person) -> None:
    fake, gateway = home.discord.community, home.discord.gateway
    identified = gateway.identified
    await home.use(
        boss,
        "discord_set_settings",
        welcome="Welcome {user} to {server}!",
        welcome_in="#general",
        autorole="crew",
    )
    # Only now Discord has to tell who joins: the bot greets it again, with one more intent.
    await home.discord.until(lambda: gateway.identified > identified and gateway.intents & 2)
    await asyncio.wait_for(gateway.connected.wait(), 10)
    await _heard_of_it(home)
    new = home.stranger("newt")
    await fake.joins(new.id, "newt @everyone")
    seen = await home.answer(GENERAL, f"Welcome <@{new.id}> to lab!")
    assert seen.doc["allowed_mentions"] == {"parse": [], "users": [new.id]}
    await home.discord.until(lambda: fake.roles_of(new.id) == [CREW])


async def test_a_role_waits_for_the_rules_and_a_greeting_may_be_direct(
    home: House, boss: Person
) -> None:
    fake = home.discord.community
    await home.use(
        boss,
        "discord_set_settings",
        welcome="Hello {name}",
        welcome_in="dm",
        autorole=CREW,
        autorole_after_rules=True,
    )
    await home.discord.until(lambda: home.discord.gateway.intents & 2)
    await asyncio.wait_for(home.discord.gateway.connected.wait(), 10)
    await _heard_of_it(home)
    new = home.stranger("fern")
    await fake.joins(new.id, "fern", pending=True)
    await home.answer(new.dm, "Hello fern")
    actions = Actions(home.app.parts.db)
    [role] = await actions.list(GUILD, target=new.id, kinds=("role",))
    await home.discord.until(lambda: home.discord.community.members[new.id])
    async with asyncio.timeout(10):
        while True:
            role = await actions.get(role.id)
            if role.tries and role.state == "due":
                break
            await asyncio.sleep(0.02)
    assert fake.roles_of(new.id) == []
    fake.members[new.id]["pending"] = False
    await actions.later(role.id, 0)
    await home.discord.until(lambda: fake.roles_of(new.id) == [CREW])


@pytest.mark.parametrize(
    ("role", "says"), [("chiefs", "not below"), ("helpers", "Manage Messages"), ("x", "no role")]
)
async def test_a_dangerous_or_unreachable_role_is_refused_clearly(
    home: House, boss: Person, role: str, says: str
) -> None:
    with pytest.raises((PermissionDenied, NotFound), match=says):
        await home.use(boss, "discord_set_settings", autorole=role)
    assert (await home.use(boss, "discord_get_settings")).community.autorole.role is None


async def test_a_raid_is_braked_and_the_brake_ends_by_itself(home: House, boss: Person) -> None:
    fake = home.discord.community
    await enforced(home, boss, raid_joins=3, raid_seconds=60, raid_calm_minutes=10)
    await home.discord.until(lambda: home.discord.gateway.intents & 2)
    await asyncio.wait_for(home.discord.gateway.connected.wait(), 10)
    await _heard_of_it(home)
    raiders = [home.stranger() for _ in range(4)]
    for each in raiders:
        await fake.joins(each.id, each.name)
    await home.discord.until(lambda: all(fake.silent_for(each.id) > 9 for each in raiders))
    await home.discord.until(lambda: fake.level == 3)
    actions = Actions(home.app.parts.db)
    [calm] = await actions.list(GUILD, kinds=("calm",))
    assert calm.state == "due"
    await actions.later(calm.id, 0)
    await home.discord.until(lambda: fake.level == 0)


async def test_without_the_members_intent_it_goes_on_and_says_what_to_switch_on(
    home: House, boss: Person
) -> None:
    gateway = home.discord.gateway
    servers = Servers(home.app.parts.db)
    await home.discord.until(lambda: not gateway.intents & 2 or None, 10)
    gateway.no_members = True
    try:
        identified = gateway.identified
        await home.use(boss, "discord_set_settings", welcome="Hi {user}", welcome_in="dm")
        await home.discord.until(lambda: gateway.identified > identified)
        await asyncio.wait_for(gateway.connected.wait(), 10)
        async with asyncio.timeout(10):
            while "Server Members Intent" not in (await servers.bot()).problem:
                await asyncio.sleep(0.02)
        assert not gateway.intents & 2
        assert (await servers.bot()).state == "on"
        listed = to_markdown((await home.use(boss, "discord_list_servers")).render())
        assert "Server Members Intent" in listed
    finally:
        gateway.no_members = False


async def test_a_command_answers_with_its_text_and_pings_nobody(home: House, boss: Person) -> None:
    await home.use(
        boss,
        "discord_set_command",
        name="!Hello",
        text="Hi {user}, {args}! Number {count}.",
        cooldown_seconds=3600,
    )
    await _heard_of_it(home)
    eve, bob = member(home), member(home)
    await eve.says("!hello @everyone", GENERAL)
    seen = await home.answer(GENERAL, f"Hi <@{eve.id}>, \\@everyone! Number 1.")
    assert seen.doc["allowed_mentions"] == {"parse": []}
    await eve.says("!hello again", GENERAL)
    await bob.says("!HELLO", GENERAL)
    await home.answer(GENERAL, f"Hi <@{bob.id}>, ! Number 2.")
    assert not [seen for seen in home.discord.by_bot(GENERAL) if "again" in seen.text]
    shown = await home.use(boss, "discord_delete_command", name="hello")
    assert shown.settings.commands == ()
    with pytest.raises(NotFound):
        await home.use(boss, "discord_delete_command", name="hello")


async def test_a_command_for_a_role_is_for_that_role(home: House, boss: Person) -> None:
    await home.use(boss, "discord_set_command", name="crew", text="Aye {name}", roles=[CREW])
    await _heard_of_it(home)
    eve, tar = member(home), member(home, CREW)
    await eve.says("!crew", GENERAL)
    await tar.says("!crew", GENERAL)
    await home.answer(GENERAL, f"Aye {tar.name}")
    assert not [seen for seen in home.discord.by_bot(GENERAL) if f"Aye {eve.name}" in seen.text]


async def test_settings_that_cannot_be_are_refused_whole(home: House, boss: Person) -> None:
    for tool, values in [
        ("discord_set_settings", {"welcome": "Hi {nobody}"}),
        ("discord_set_command", {"name": "a b", "text": "x"}),
        ("discord_set_command", {"name": "a", "text": "{random:one}"}),
        ("discord_set_moderation", {"deny_links": ["not a domain"]}),
        ("discord_set_moderation", {}),
        ("discord_enforce_moderation", {"steps": ["hug"]}),
    ]:
        with pytest.raises(InvalidInput):
            await home.use(boss, tool, **values)
    assert (await home.use(boss, "discord_get_settings")).community == Community()


async def test_messages_are_counted_by_one_of_two_bots_and_shown(home: House, boss: Person) -> None:
    await home.use(boss, "discord_set_settings", count=True)
    await home.discord.until(lambda: home.discord.gateway.intents & 2)
    await asyncio.wait_for(home.discord.gateway.connected.wait(), 10)
    await _heard_of_it(home)
    counts = Counts(home.app.parts.db)
    eve = member(home)
    for n in range(3):
        await eve.says(f"message {n}", GENERAL)
    await home.discord.community.joins("9901", "ivy")
    await home.discord.community.leaves("9901")
    from datetime import UTC, datetime

    async def sums() -> dict[str, int]:
        found = await counts.since(GUILD, datetime.now(UTC).date())
        return {each.kind: each.count for each in found if each.kind != "command"}

    async with asyncio.timeout(10):
        while await sums() != {"message": 3, "join": 1, "leave": 1}:
            await asyncio.sleep(0.02)
    other = Tally()
    other.add(GUILD, "message", GENERAL)
    assert await other.write(home.app.parts.db) == 0, "the bot that runs counts"
    stats = await home.use(boss, "discord_stats", days=7)
    kinds = [block.kind for block in stats.render()]
    assert kinds[:3] == ["markdown", "plot", "table"]
    assert "#general" in to_markdown(stats.render())
    assert "message 1" not in stats.model_dump_json()
    await counts.prune(0)
    assert await sums() == {"message": 3, "join": 1, "leave": 1}, "today is kept"
