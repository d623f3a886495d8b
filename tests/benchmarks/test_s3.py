"""The approval corpus against the product: nothing runs that nobody approved."""

from benchmarks.approvals.play import CORPUS, play
from benchmarks.approvals.world import open_world
from nebula.settings import Settings


async def test_no_vector_of_the_approval_corpus_makes_anything_run_wrongly(
    settings: Settings,
) -> None:
    async with open_world(settings) as world:
        played = [await play(vector, world) for vector in CORPUS]
    assert len(played) >= 50
    assert [(each.vector.name, each.wrong) for each in played if each.wrong] == []
    assert [(each.vector.name, each.missing) for each in played if each.missing] == []
