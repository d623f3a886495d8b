"""Tool retrieval: which tools fit a request."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from sqlalchemy import func, select, update

from nebula.db.engine import Database
from nebula.llm.embedding import Embedder
from nebula.tool.bm25 import BM25, words_and_concepts_of, words_of
from nebula.tool.phrases import phrases_of, plain_forms
from nebula.tool.registry import Registry
from nebula.tool.retrieval import ToolIndex
from nebula.tool.vectors.models import ToolVectors
from nebula.tool.wording import FEATURE, SENTENCE, WHOLE, Wording
from tests.nebula.llm.command.house import TOOLS, gpu_switch


class Counting(Embedder):
    """The real embedder, counting what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.texts = 0

    async def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.texts += len(texts)
        return await super().embed(texts)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("is my graphics card busy right now", "gpu_status"),
        ("start the image generator, kick out the language model", "gpu_switch"),
        ("drop a line in the discord channel", "notify_send"),
        ("where is that documented", "knowledge_search"),
        ("do not forget that my favourite checkpoint is SDXL", "recall_save"),
        ("what errors did ollama write", "services_logs"),
    ],
)
async def test_a_request_in_other_words_finds_its_tool_first(said: str, meant: str) -> None:
    ranked = await ToolIndex(Registry(TOOLS), Embedder()).rank(said)
    assert ranked[0].name == meant
    assert [each.score for each in ranked] == sorted((r.score for r in ranked), reverse=True)


async def test_only_the_named_tools_are_ranked_and_strangers_are_ignored() -> None:
    index = ToolIndex(Registry(TOOLS), Embedder())
    ranked = await index.rank("check the gpu", {"services_list", "home_set", "no_such_tool"})
    assert {each.name for each in ranked} == {"services_list", "home_set"}
    assert await index.rank("check the gpu", set()) == []
    assert len(await index.rank("check the gpu", None, 3)) == 3


async def test_an_empty_registry_or_request_ranks_nothing() -> None:
    assert await ToolIndex(Registry([]), Embedder()).rank("anything") == []
    assert await ToolIndex(Registry(TOOLS), Embedder()).rank("  ") == []


async def test_vectors_come_from_the_database_until_the_catalogue_changes(
    database: Database,
) -> None:
    first = Counting()
    expected = await ToolIndex(Registry(TOOLS), first, database).rank("check the gpu")
    second = Counting()
    assert await ToolIndex(Registry(TOOLS), second, database).rank("check the gpu") == expected
    assert second.texts == 1 < first.texts
    third = Counting()
    await ToolIndex(Registry(TOOLS[:3]), third, database).rank("check the gpu")
    assert third.texts > 1


async def test_damaged_vectors_are_computed_again(database: Database) -> None:
    expected = await ToolIndex(Registry(TOOLS), Embedder(), database).rank("check the gpu")
    async with database.session() as session:
        await session.execute(update(ToolVectors).values(vectors=b"short"))
    assert await ToolIndex(Registry(TOOLS), Embedder(), database).rank("check the gpu") == expected


async def test_catalogues_unused_for_a_month_are_forgotten(database: Database) -> None:
    await ToolIndex(Registry(TOOLS), Embedder(), database).warm()
    async with database.session() as session:
        old = ToolVectors.used_at - func.make_interval(0, 0, 0, 31)
        await session.execute(update(ToolVectors).values(used_at=old))
    await ToolIndex(Registry(TOOLS[:3]), Embedder(), database).warm()
    async with database.session() as session:
        assert await session.scalar(select(func.count()).select_from(ToolVectors)) == 1


async def test_without_an_answering_database_tools_are_still_found() -> None:
    unreachable = Database("postgresql://nobody@127.0.0.1:1/nothing")
    ranked = await ToolIndex(Registry(TOOLS), Embedder(), unreachable).rank("check the gpu")
    await unreachable.close()
    assert ranked[0].name == "gpu_status"


def test_phrases_say_a_tools_sentences_without_slots() -> None:
    phrases = phrases_of(gpu_switch)
    assert phrases[0] == "gpu switch"
    assert "switch the gpu to service on node" in phrases
    assert "make room for image generation" in phrases
    assert not any("{" in phrase or "|" in phrase for phrase in phrases)


def test_a_template_with_many_forms_is_shown_by_a_few_spread_over_them() -> None:
    forms = plain_forms("(show|list|give|print) [me] [all] [the] (jobs|tasks) [please]")
    assert len(forms) == 4
    assert len({form.split()[0] for form in forms}) > 1


def test_rare_words_weigh_more_than_common_ones_and_unknown_ones_nothing() -> None:
    index = BM25(["show the gpu", "show the jobs", "show the users and the nodes"])
    scores = index.scores("show gpu")
    assert int(scores.argmax()) == 0
    assert scores[1] > 0
    assert not index.scores("zzz").any()
    assert words_of("Switching services") == ["switch", "servic"]


def test_words_that_mean_the_same_meet() -> None:
    index = BM25(["remove the workflow", "show the workflow"], words_and_concepts_of)
    scores = index.scores("get rid of that pipeline")
    assert scores[0] > scores[1] > 0
    assert not BM25(["remove the workflow"]).scores("get rid of that pipeline").any()
    assert "=delete" not in words_and_concepts_of("a ridge")


def test_a_short_plural_is_the_same_word_as_its_singular() -> None:
    assert words_of("jobs keys bus news") == ["job", "key", "bus", "new"]


def test_a_request_is_compared_with_a_tools_text_its_best_sentence_and_its_feature() -> None:
    wording = Wording(
        ["gpu", "gpu", "jobs"],
        [["show the gpu"], ["switch the gpu", "use another model"], ["list what waits"]],
    )
    scores = wording.scores("switch the gpu")
    assert int(scores.argmax()) == 1
    assert scores[1] == pytest.approx(WHOLE + SENTENCE + FEATURE)
    assert scores[0] > scores[2] == 0
    assert not wording.scores("zzz").any()


def test_a_choice_is_shown_by_its_values_and_articles_make_no_other_sentence() -> None:
    forms = plain_forms("{action} (the|my|a|) agent", choices={"action": ["pause", "resume"]})
    assert len(forms) == 2
    assert {form.split()[0] for form in forms} == {"pause", "resume"}
