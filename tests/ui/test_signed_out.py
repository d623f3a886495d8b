"""When the page of someone who may no longer see it is closed."""

import pytest

from nebula.errors import NotAuthenticated, UpstreamUnavailable
from ui.chat.signed_out import signed_out

HERE, AWAY, OUT = "ada", UpstreamUnavailable("The database is away"), NotAuthenticated("Sign in")


class Day:
    """What happens around one page, look by look, on a clock that only the pauses move."""

    def __init__(self, *looks: object) -> None:
        self.looks = list(looks)
        self.clock = 0.0

    async def who(self) -> object:
        look = self.looks.pop(0)
        if isinstance(look, Exception):
            raise look
        return look

    async def pause(self, seconds: float) -> None:
        self.clock += seconds

    async def ends(self) -> bool:
        return await signed_out(self.who, lambda: bool(self.looks), self.pause)


async def test_a_page_is_closed_within_a_second_of_the_sign_out() -> None:
    day = Day(HERE, HERE, OUT, HERE)
    assert await day.ends()
    assert day.clock <= 2 * 1.0, "two pauses lie before the third look"
    assert day.looks == [HERE], "nobody looks again"


async def test_a_database_that_is_away_closes_no_page() -> None:
    assert not await Day(HERE, AWAY, HERE).ends()


@pytest.mark.parametrize("away", [1, 5])
async def test_a_sign_out_during_an_outage_counts_as_soon_as_it_is_over(away: int) -> None:
    day = Day(*[AWAY] * away, OUT)
    assert await day.ends()
    assert day.clock <= away
