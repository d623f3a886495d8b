"""Pictures beside a message, over the wire protocols of both kinds of provider."""

import base64
from typing import Any

import pytest

from graphs.jarvis.attachments import Attachment
from nebula.auth.principal import Caller
from nebula.errors import InvalidInput
from nebula.settings import Settings
from tests.fakes.ollama import LLAMA_3B, LLAVA, FakeOllama
from tests.fakes.openai import FakeOpenAI
from tests.fakes.scripted import ModelRequest, Reply, Script, fail
from tests.fakes.scripted import say as answer
from tests.fakes.serve import serve
from tests.graphs.jarvis.test_models import house, openai_at
from tests.graphs.lab import only, say

CAT = Attachment(name="cat.png", media_type="image/png", content=b"\x89PNG a cat")
CODED = base64.b64encode(CAT.content).decode()


def two_models(request: ModelRequest) -> Reply:
    """Policy: one model sees, the other thinks."""
    return answer("A tabby on a GPU." if request.model == "llava:7b" else "A warm place to sleep.")


def words(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else str(content[0]["text"])


async def test_ollama_s_model_that_sees_is_shown_it_and_the_other_one_reads_what_it_saw(
    settings: Settings, ada: Caller
) -> None:
    fake = FakeOllama(two_models, installed={"llama3.2:3b": LLAMA_3B, "llava:7b": LLAVA})
    more = {"openai_base_url": "http://127.0.0.1:9/v1"}
    async with serve(fake) as url, house(settings, ollama_host=url, **more) as (_, jarvis):
        events = await say(jarvis, ada, "why is it there?", attachments=[CAT])
        session = events[0].session_id
        await say(jarvis, ada, "tell me more about this cat", session_id=session)
        history = await jarvis.sessions.messages(session, ada.principal)
    seeing, thinking, later = [r for r in fake.server.requests if r.path == "/api/chat"]
    assert (seeing.model, thinking.model) == ("llava:7b", "llama3.2:3b")
    assert seeing.last["images"] == [CODED] and "why is it there?" in words(seeing.last)
    assert "A tabby on a GPU." in words(thinking.last) and "images" not in thinking.last
    assert any("A tabby on a GPU." in words(message) for message in later.messages)
    assert CODED not in str(later.body), "only words stay in the conversation"
    assert [(s.name, s.status) for s in only(events, "step")] == [
        ("Looking at cat.png", "running"),
        ("Looking at cat.png", "done"),
    ]
    assert (events[-1].outcome, events[-1].model_calls) == ("answered", 2)
    assert history[0].text == "why is it there?\n\n[picture: cat.png]"


async def test_an_openai_compatible_model_is_shown_it(settings: Settings, ada: Caller) -> None:
    script = Script(answer("A tabby on a GPU."), answer("A warm place to sleep."))
    async with serve(FakeOpenAI(script)) as url:
        models = openai_at(url) | {"model_vision": "openai:gpt-test"}
        async with house(settings, **models) as (_, jarvis):
            events = await say(jarvis, ada, "why is it there?", attachments=[CAT])
    script.check()
    _, picture = script.requests[0].last["content"]
    assert picture["image_url"]["url"] == f"data:image/png;base64,{CODED}"
    assert "A tabby on a GPU." in words(script.requests[1].last)
    assert only(events, "message")[-1].text == "A warm place to sleep."


async def test_a_model_that_sees_and_does_not_answer_fails_the_turn_and_says_so(
    settings: Settings, ada: Caller
) -> None:
    async with serve(FakeOpenAI(Script(*[fail(500)] * 4))) as url:
        models = openai_at(url) | {"model_vision": "openai:gpt-test"}
        async with house(settings, **models) as (_, jarvis):
            events = await say(jarvis, ada, "why is it there?", attachments=[CAT])
    [error] = only(events, "error")
    assert error.error["detail"] == "No model that sees pictures answers"
    assert events[-1].outcome == "failed"


@pytest.mark.parametrize("away", ["sees", "everybody"])
async def test_where_no_model_sees_a_picture_is_refused_with_the_next_step(
    settings: Settings, ada: Caller, away: str
) -> None:
    async with serve(FakeOpenAI(Script())) as url:
        models = openai_at(url if away == "sees" else "http://127.0.0.1:9")
        async with house(settings, **models) as (_, jarvis):
            with pytest.raises(InvalidInput, match="no model here sees") as refused:
                await say(jarvis, ada, "why is it there?", attachments=[CAT])
    assert "JARVIS_MODEL_VISION" in refused.value.hint
