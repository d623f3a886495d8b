import pytest

from tests.ui.discord.house import House

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_direct_message_is_answered_and_goes_on_in_the_same_session(home: House) -> None:
    ann = await home.person()
    home.says("Hello Ann.", "Still here.")
    await ann.says("good morning to you all")
    first = await home.answer(ann.dm, "Hello Ann.")
    await ann.says("are you there still or what")
    await home.answer(ann.dm, "Still here.")
    assert first.text == "Hello Ann."
    sessions = await home.lab.jarvis.sessions.list(home.principals[ann.id])
    assert len(sessions) == 1
    assert sessions[0].surface == "discord"
