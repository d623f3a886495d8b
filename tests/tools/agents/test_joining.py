"""How a task for several agents goes on: a table of situations and what is due in each."""

import pytest

from tools.agents.joining import Move, Rule, next_move

ALL = Rule(chain=False, at_least=2, wait=True)
ANY = Rule(chain=False, at_least=1, wait=False)
CHAIN = Rule(chain=True, at_least=2, wait=True)
FALLBACK = Rule(chain=True, at_least=1, wait=False)

SITUATIONS = [
    ("all begin at once", ALL, ["", ""], None, False, Move(start=(0, 1))),
    ("at work", ALL, ["running", "waiting"], None, False, Move()),
    ("one is done", ALL, ["done", "running"], None, False, Move()),
    ("one failed of two", ALL, ["failed", "running"], None, False, ("failed", True)),
    ("both are done", ALL, ["done", "done"], None, False, ("done", False)),
    ("both done, one joins", ALL, ["done", "done"], "", False, Move(join=True)),
    ("the joiner works", ALL, ["done", "done"], "running", False, Move()),
    ("the joiner is done", ALL, ["done", "done"], "done", False, ("done", False)),
    ("the joiner failed", ALL, ["done", "done"], "stopped", False, ("failed", False)),
    ("time is over", ALL, ["done", "waiting"], None, True, ("failed", True)),
    ("time is over for the joiner", ALL, ["done", "done"], "running", True, ("failed", True)),
    ("the first of any", ANY, ["running", "done"], None, False, ("done", True)),
    (
        "the first of any, joined",
        ANY,
        ["running", "done"],
        "",
        False,
        Move(join=True, give_up_rest=True),
    ),
    ("none is left of any", ANY, ["failed", "skipped"], None, False, ("failed", True)),
    (
        "enough, but all are waited for",
        Rule(chain=False, at_least=1, wait=True),
        ["done", "running"],
        None,
        False,
        Move(),
    ),
    (
        "enough when time is over",
        Rule(chain=False, at_least=1, wait=True),
        ["done", "waiting"],
        None,
        True,
        ("done", True),
    ),
    ("a chain begins with its first", CHAIN, ["", ""], None, False, Move(start=(0,))),
    ("a chain waits for its first", CHAIN, ["running", ""], None, False, Move()),
    ("a chain goes on", CHAIN, ["done", ""], None, False, Move(start=(1,))),
    ("a chain breaks", CHAIN, ["failed", ""], None, False, ("failed", True)),
    ("a fallback goes on after a failure", FALLBACK, ["failed", ""], None, False, Move(start=(1,))),
    ("a fallback ends with a success", FALLBACK, ["done", ""], None, False, ("done", True)),
]


@pytest.mark.parametrize(
    ("rule", "members", "joiner", "over", "due"),
    [each[1:] for each in SITUATIONS],
    ids=[each[0] for each in SITUATIONS],
)
def test_what_is_due_follows_from_how_the_members_stand(
    rule: Rule, members: list[str], joiner: str | None, over: bool, due: Move | tuple[str, bool]
) -> None:
    move = next_move(rule, members, joiner, over=over)
    if isinstance(due, Move):
        assert move == due
    else:
        assert (move.end, move.give_up_rest) == due
        assert move.why
        assert move.start == ()
