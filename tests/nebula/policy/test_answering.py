"""Who may say yes where: the whole table."""

from dataclasses import replace
from itertools import product

import pytest

from nebula.auth.principal import Surface
from nebula.policy.answering import Answerer, Bar, FourEyes, Question, bar
from nebula.policy.ask import Level
from tests.people import principal

ADA = principal("admin")
PLAIN = Question("gpu:write", Level.NORMAL, ADA.id, tainted=False, four_eyes=FourEyes.AUTO)
HERE = Answerer(ADA, Surface.CHAT, fresh=False, others=False)


@pytest.mark.parametrize("surface", Surface)
def test_a_plain_question_is_answered_where_people_show_who_they_are(surface: Surface) -> None:
    doors = {Surface.CHAT, Surface.REST, Surface.TERMINAL, Surface.DISCORD}
    expected = None if surface in doors else Bar.DOOR
    assert bar(PLAIN, replace(HERE, surface=surface), approving=True) is expected


@pytest.mark.parametrize(("level", "tainted"), list(product(Level, [False, True])))
def test_a_chat_room_takes_no_yes_to_what_needs_a_full_card(level: Level, tainted: bool) -> None:
    question = replace(PLAIN, level=level, tainted=tainted, requester_id="usr_else")
    room = replace(HERE, surface=Surface.DISCORD, fresh=True)
    shut = tainted or level is Level.CRITICAL
    assert bar(question, room, approving=True) is (Bar.DOOR if shut else None)
    assert bar(question, room, approving=False) is None


@pytest.mark.parametrize("approving", [True, False])
def test_keys_schedules_and_people_without_the_right_answer_nothing(approving: bool) -> None:
    key = replace(HERE, principal=replace(ADA, key_id="key_1"))
    schedule = replace(HERE, principal=replace(ADA, frozen=(frozenset({"*:*"}), frozenset())))
    viewer = replace(HERE, principal=principal("viewer"))
    assert bar(PLAIN, key, approving=approving) is Bar.PROGRAM
    assert bar(PLAIN, schedule, approving=approving) is Bar.PROGRAM
    assert bar(PLAIN, viewer, approving=approving) is Bar.PERMISSION


@pytest.mark.parametrize(
    ("level", "tainted", "four_eyes", "others"),
    list(product(Level, [False, True], FourEyes, [False, True])),
)
def test_who_asked_cannot_say_yes_alone_to_what_outside_text_may_have_asked(
    level: Level, tainted: bool, four_eyes: FourEyes, others: bool
) -> None:
    question = replace(PLAIN, level=level, tainted=tainted, four_eyes=four_eyes)
    who = replace(HERE, fresh=True, others=others)
    two = tainted and level is not Level.NORMAL
    two = two and (four_eyes is FourEyes.ALWAYS or (four_eyes is FourEyes.AUTO and others))
    assert bar(question, who, approving=True) is (Bar.SECOND_PERSON if two else None)
    somebody = replace(who, principal=replace(ADA, id="usr_bob"))
    assert bar(question, somebody, approving=True) is None
    assert bar(question, who, approving=False) is None


@pytest.mark.parametrize(("surface", "fresh"), list(product(Surface, [False, True])))
def test_what_weighs_most_needs_a_fresh_sign_in_or_the_machine_itself(
    surface: Surface, fresh: bool
) -> None:
    question = replace(PLAIN, level=Level.CRITICAL)
    found = bar(question, replace(HERE, surface=surface, fresh=fresh), approving=True)
    if surface in {Surface.CHAT, Surface.REST}:
        assert found is (None if fresh else Bar.FRESH_SIGN_IN)
    else:
        assert found is (None if surface is Surface.TERMINAL else Bar.DOOR)
