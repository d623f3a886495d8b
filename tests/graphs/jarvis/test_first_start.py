"""What a newcomer's Jarvis does with no model: the real tools, the real manual, command mode."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from graphs.events import ChatEvent
from graphs.jarvis.service import Jarvis, open_jarvis
from knowledge.manual import ensure_manual
from nebula.app import App
from nebula.auth.principal import Caller, Principal, Surface


@pytest.fixture
async def jarvis(app: App) -> AsyncIterator[Jarvis]:
    async with open_jarvis(app) as opened:
        yield opened


@pytest.fixture
def ada(admin: Principal) -> Caller:
    return Caller(admin, Surface.CHAT)


async def say(jarvis: Jarvis, ada: Caller, text: str, **more: str) -> Sequence[ChatEvent]:
    async with asyncio.timeout(60):
        return [event async for event in jarvis.send(ada, text, **more)]  # type: ignore[arg-type]


def answer(events: Sequence[ChatEvent]) -> str:
    return "\n".join(event.text for event in events if event.type == "message")


async def test_a_question_about_the_product_is_answered_with_its_place(
    app: App, jarvis: Jarvis, ada: Caller
) -> None:
    await ensure_manual(app.parts)
    told = answer(await say(jarvis, ada, "how do I connect ComfyUI?"))
    assert "8188" in told
    assert "connect-comfyui.md" in told.replace("\\", "")


async def test_the_card_is_shown_and_switched_without_any_model_call(
    jarvis: Jarvis, ada: Caller
) -> None:
    events = await say(jarvis, ada, "check GPU status")
    assert "simulated" in answer(events).lower()
    assert events[-1].type == "done"
    assert events[-1].model_calls == 0
    switched = answer(await say(jarvis, ada, "switch to Stable Diffusion"))
    assert "Unloaded llama3" in switched.replace("\\", "")


async def test_a_number_picks_from_the_choices_offered(jarvis: Jarvis, ada: Caller) -> None:
    offered = await say(jarvis, ada, "graphics card memory clean up somehow")
    assert "1." in answer(offered)
    session_id = offered[0].session_id  # type: ignore[union-attr]
    picked = await say(jarvis, ada, "1", session_id=session_id)
    assert any(event.type == "tool" for event in picked) or "?" in answer(picked)


async def test_nonsense_is_answered_with_what_jarvis_can_do(jarvis: Jarvis, ada: Caller) -> None:
    told = answer(await say(jarvis, ada, "xyzzy plugh"))
    assert told.strip()
    assert "gpu" in told.lower() or "?" in told
