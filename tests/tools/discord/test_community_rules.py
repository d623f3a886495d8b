"""The rules of a community, as tables of facts and answers: no Discord, no database."""

import pytest

from nebula.errors import InvalidInput
from tools.discord.community import raid
from tools.discord.community.engine import Facts, Recent, judge, step_for
from tools.discord.community.links import is_invite
from tools.discord.community.raid import Brake
from tools.discord.community.roles import PERMISSIONS, Role, Standing, immunity, role_problem
from tools.discord.community.rules import Community, Links, Moderation, Raid, Spam, step_of
from tools.discord.community.template import COMMAND, WELCOME, filled, parse, plain
from tools.discord.community.words import Words

ACT = Moderation(mode="act")


def facts(text: str = "hello", *, at: float = 0.0, number: int = 1, **more: object) -> Facts:
    values = {
        "guild_id": "200",
        "channel_id": "300",
        "author_id": "7",
        "message_id": str(number),
        **more,
    }
    return Facts(text=text, at=at, **values)  # type: ignore[arg-type]


def said(rules: Moderation, *messages: Facts) -> list[str]:
    """Return the rule each message breaks, in order; empty for none."""
    recent, words = Recent(), Words(rules.words)
    found = []
    for each in messages:
        offence = judge(each, rules, words, recent.of(each))
        recent.note(each)
        found.append(offence.rule if offence else "")
    return found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("what a scam", "scam"),
        ("SCAM!", "scam"),
        ("ѕсаm", "scam"),  # noqa: RUF001 - Cyrillic letters
        ("ｓｃａｍ", "scam"),  # noqa: RUF001 - full width
        ("sc\u200bam", "scam"),
        ("śçàm", "scam"),
        ("5c4m", "scam"),
        ("$c@m", "scam"),
        ("scaaaam", "scam"),
        ("s c a m", "scam"),
        ("free|nitro free nitro", "free nitro"),
        ("scampi for dinner", None),
        ("a scamper", None),
        ("1000 and 54", None),
        ("", None),
    ],
)
def test_words_are_found_whole_and_behind_look_alikes(text: str, found: str | None) -> None:
    assert Words(["scam", "free nitro"]).first_in(text) == found


def test_an_empty_list_of_words_finds_nothing() -> None:
    assert Words([]).first_in("anything") is None
    assert Words(["!!"]).first_in("wow!!") is None


@pytest.mark.parametrize(
    ("text", "yes"),
    [
        ("join discord.gg/abc", True),
        ("https://discord.com/invite/abc", True),
        ("HTTPS://DISCORD.GG/Abc", True),
        ("https://www.discord.gg/abc", True),
        ("discord.com/channels/1/2", False),
        ("notdiscord.gg/abc", False),
        ("I like discord.gg", False),
    ],
)
def test_invitations_are_recognized(text: str, yes: bool) -> None:
    assert is_invite(text) is yes


@pytest.mark.parametrize(
    ("links", "text", "rule"),
    [
        (Links(deny=["bad.example"]), "see https://bad.example/x", "links"),
        (Links(deny=["bad.example"]), "see sub.bad.example", "links"),
        (Links(deny=["bad.example"]), "https://user@bad.example:8443/", "links"),
        (Links(deny=["bad.example"]), "https://notbad.example", ""),
        (Links(allow_only=["good.example"]), "https://good.example/a", ""),
        (Links(allow_only=["good.example"]), "https://docs.good.example", ""),
        (Links(allow_only=["good.example"]), "https://good.example.evil.test", "links"),
        (Links(allow_only=["good.example"]), "e.g. this.is fine", ""),
        (Links(invites=False), "discord.gg/abc", ""),
    ],
)
def test_links_are_judged_by_their_host(links: Links, text: str, rule: str) -> None:
    assert said(ACT.model_copy(update={"links": links}), facts(text)) == [rule]


def test_the_same_text_again_and_again_is_spam_also_when_dressed_up() -> None:
    texts = ["Buy now", "buy NOW", "bυy now", "buy  now"]  # noqa: RUF001
    messages = [facts(text, at=20.0 * n, number=n) for n, text in enumerate(texts)]
    rules = ACT.model_copy(update={"spam": Spam(repeats=3)})
    assert said(rules, *messages) == ["", "", "spam", "spam"]
    slow = [facts("Buy now", at=61.0 * n, number=n) for n in range(5)]
    assert said(rules, *slow) == [""] * 5


def test_too_many_messages_in_a_while_are_spam_and_all_of_them_are_named() -> None:
    rules = ACT.model_copy(update={"spam": Spam(messages=3, seconds=10, repeats=0)})
    recent, words = Recent(), Words([])
    for n in range(3):
        recent.note(facts(f"text {n}", at=float(n), number=n))
    last = facts("text 3", at=3.0, number=3)
    offence = judge(last, rules, words, recent.of(last))
    assert offence is not None
    assert [each[1] for each in offence.messages] == ["0", "1", "2", "3"]
    assert not recent.penalized(last, offence)
    assert recent.penalized(facts(at=20.0), offence), "one flood has one penalty"
    assert not recent.penalized(facts(at=40.0), offence)


def test_a_flood_of_mentions_is_spam() -> None:
    assert said(ACT, facts(mentions=6), facts("other", mentions=7, number=2)) == ["", "spam"]


def test_nobody_is_judged_who_is_exempt_or_immune_or_while_it_is_off() -> None:
    bad = "discord.gg/abc"
    assert said(ACT, facts(bad)) == ["links"]
    assert said(ACT, facts(bad, immune="They own the server.")) == [""]
    assert said(Moderation(), facts(bad)) == [""]
    exempt = Moderation(mode="act", exempt_roles=("5",), exempt_channels=("31",))
    assert said(exempt, facts(bad, roles=frozenset({"5"}))) == [""]
    assert said(exempt, facts(bad, channel_id="31")) == [""]
    assert said(exempt, facts(bad, parent_id="31")) == [""]


def test_an_edit_is_judged_by_what_it_says_and_never_as_a_flood() -> None:
    rules = ACT.model_copy(update={"spam": Spam(messages=1, repeats=2)})
    assert said(rules, facts("a"), facts("a", edited=True)) == ["", ""]
    assert said(rules, facts("discord.gg/x", edited=True)) == ["links"]


def test_penalties_climb_and_stay_at_the_last_step() -> None:
    steps = [step_of("warn"), step_of("timeout 10"), step_of("ban")]
    assert [step_for(steps, n).penalty for n in range(5)] == ["warn", "timeout", *["ban"] * 3]


@pytest.mark.parametrize("text", ["timeout", "timeout soon", "timeout 50000", "warn 5", "hug", ""])
def test_a_step_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        step_of(text)


def test_a_rush_switches_the_brake_on_and_calm_switches_it_off() -> None:
    rules, brake, began, held = Raid(joins=3, seconds=10, calm_minutes=1), Brake(), [], []
    for now, who in [(0.0, "a"), (1.0, "b"), (2.0, "c"), (30.0, "d"), (70.0, "e")]:
        pulled = raid.joined(brake, rules, who, now)
        brake = pulled.brake
        began.append(pulled.began)
        held.append(list(pulled.held))
    assert began == [False, False, True, False, False]
    assert held == [[], [], ["a", "b", "c"], ["d"], []]
    assert raid.joined(Brake(), Raid(), "a", 0.0).held == ()


BOT = Standing(top=10, permissions=PERMISSIONS["Manage Roles"])


@pytest.mark.parametrize(
    ("member", "bot", "says"),
    [
        (Standing(top=1), BOT, ""),
        (Standing(top=10), BOT, "not below"),
        (Standing(top=1), None, "not below"),
        (Standing(top=0, bot=True), BOT, "a bot"),
        (Standing(top=0, owner=True), BOT, "own the server"),
        (Standing(top=0, permissions=PERMISSIONS["Manage Messages"]), BOT, "moderator"),
    ],
)
def test_owners_moderators_bots_and_those_above_are_left_alone(
    member: Standing, bot: Standing | None, says: str
) -> None:
    assert says in immunity(member, bot)
    assert bool(immunity(member, bot)) is bool(says)


@pytest.mark.parametrize(
    ("role", "bot", "says"),
    [
        (Role("1", "crew", 1, 0), BOT, ""),
        (Role("1", "crew", 10, 0), BOT, "not below"),
        (Role("1", "crew", 1, PERMISSIONS["Ban Members"]), BOT, "Ban Members"),
        (Role("1", "bot", 1, 0, managed=True), BOT, "integration"),
        (Role("200", "@everyone", 0, 0), BOT, "already"),
        (Role("1", "crew", 1, 0), Standing(top=10), "Manage Roles"),
    ],
)
def test_only_harmless_roles_below_the_bots_are_handed_out(
    role: Role, bot: Standing, says: str
) -> None:
    problem = role_problem(role, bot, "200")
    assert says in problem
    assert bool(problem) is bool(says)


def test_a_template_is_filled_in_and_what_is_put_in_is_never_a_template() -> None:
    parts = parse("Hi {user}, {random:red|blue} on {server}: {args}", COMMAND)
    values = {"user": "<@7>", "server": "lab", "args": "{user} {count}", "name": "", "count": "1"}
    assert filled(parts, values, lambda options: options[1]) == (
        "Hi <@7>, blue on lab: {user} {count}"
    )


@pytest.mark.parametrize("text", ["{nobody}", "{args}", "{random}", "{random:one}", "{user:x}"])
def test_an_unknown_placeholder_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse(text, WELCOME)


def test_braces_that_are_no_placeholders_stay() -> None:
    assert filled(parse("{} {A} {user.__class__}", WELCOME), {}, lambda o: o[0]) == (
        "{} {A} {user.__class__}"
    )


def test_text_of_others_is_shown_as_it_is() -> None:
    assert plain("[x](http://evil) <@1> @everyone\n# big") == (
        "\\[x\\]\\(http\\://evil\\) \\<\\@1\\> \\@everyone \\# big"
    )


def test_members_are_asked_for_only_when_a_setting_needs_them() -> None:
    assert not Community().wants_members
    assert not Community(moderation=ACT).wants_members
    assert Community(welcome={"text": "hi"}).wants_members
    assert Community(autorole={"role": "4"}).wants_members
    assert Community(count=True).wants_members
    raided = Moderation(mode="tell", raid=Raid(joins=5))
    assert Community(moderation=raided).wants_members
