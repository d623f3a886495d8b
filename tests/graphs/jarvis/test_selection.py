"""Which tools a request gets."""

from collections.abc import Collection

import pytest

from agents.profile import Profile
from agents.roster import JARVIS
from graphs.jarvis.selection import fitting, has_several_steps, is_question, may_mix
from nebula.tool.definition import Audience
from nebula.tool.retrieval import Ranked
from tests.graphs.lab import ALL, LAMPLIGHTER, lamps_light, lamps_show, letters_read


class ByName:
    """Ranks tools by their names, the first best."""

    async def rank(
        self, text: str, tools: Collection[str] | None = None, k: int = 8
    ) -> list[Ranked]:
        scores = {name: 1.0 / at for at, name in enumerate(sorted(tools or ()), start=1)}
        return [Ranked(name, score, score) for name, score in scores.items()][:k]


@pytest.mark.parametrize(
    "text",
    [
        "what is on the GPU?",
        "what is on the GPU? I forgot.",
        "Which services are up",
        "is ollama running",
        "the gpu is free?",
    ],
)
def test_questions_are_questions(text: str) -> None:
    assert is_question(text)


@pytest.mark.parametrize(
    "text",
    [
        "can you switch to Stable Diffusion?",
        "could we unload llama, please?",
        "please check the GPU",
        "switch to comfyui",
        "do it",
        "which jobs run? then cancel job_9",
        "/gpu_status",
        "",
    ],
)
def test_polite_requests_are_no_questions(text: str) -> None:
    assert not is_question(text)


def test_several_steps_are_seen() -> None:
    assert has_several_steps("check the GPU and then switch to comfyui")
    assert has_several_steps("do this:\n1. look\n2. switch")
    assert not has_several_steps("switch to comfyui")


def test_a_request_that_reads_and_changes_is_worth_a_plan() -> None:
    both = [letters_read, lamps_light]
    assert may_mix("see what the letter says, and make it bright", both)
    assert not may_mix("make it bright", both)
    assert not may_mix("make it bright and warm", [lamps_light, lamps_show])
    assert not may_mix("read this and that", [letters_read, lamps_show])


async def fit(profile: Profile, *, read_only: bool) -> list[str]:
    return await fitting("anything", ALL, profile, ByName(), read_only=read_only)


async def test_nothing_for_people_only_is_ever_offered() -> None:
    assert "lamps_sell" not in await fit(JARVIS, read_only=False)


async def test_a_question_is_offered_reading_only() -> None:
    assert not {"lamps_light", "lamps_smash"} & set(await fit(JARVIS, read_only=True))


async def test_an_agent_is_offered_its_features_only() -> None:
    assert "letters_read" not in await fit(LAMPLIGHTER, read_only=False)


async def test_what_fits_badly_is_left_out() -> None:
    possible = {tool.name for tool in ALL if tool.audience is not Audience.HUMAN}
    assert possible - set(await fit(JARVIS, read_only=False)) == {max(possible)}
