import asyncio

import pytest

from tests.fakes.openai import FakeOpenAI
from tests.fakes.scripted import ModelRequest, Reply, say, stall
from tests.fakes.serve import serve
from tests.ui.cli.terminal import Terminal

STORY = "Tell me a story about ships and their captains"


def storyteller(asked: ModelRequest) -> Reply:
    """Stall in the middle of a story; answer anything else."""
    said = str(asked.messages[-1].get("content"))
    return stall("Once upon a time") if "story" in said else say("Fair winds to you")


@pytest.mark.timeout(240)
async def test_ctrl_c_stops_the_turn_and_the_conversation_goes_on(terminal: Terminal) -> None:
    model = FakeOpenAI(storyteller)
    async with serve(model) as url:
        terminal.more = {
            "OPENAI_API_KEY": "sk-test",
            "OPENAI_BASE_URL": f"{url}/v1",
            "JARVIS_MODEL_SMALL": "openai:gpt-test",
            "JARVIS_MODEL_LARGE": "openai:gpt-test",
        }
        code, screen = await asyncio.to_thread(
            terminal.type,
            "chat",
            answers=[
                ("Leave with", f"{STORY}\n".encode()),
                ("Once upon a time", b"\x03"),
                ("Stopped.", b"wish me well for the journey\n"),
                ("Fair winds to you", b"exit\n"),
            ],
        )
    assert code == 0, screen
    assert screen.count("Fair winds to you") == 1
    assert model.server.disconnects == 1, "the model's stream was cut, not left running"


async def test_ctrl_c_at_the_prompt_leaves(terminal: Terminal) -> None:
    code, screen = await asyncio.to_thread(
        terminal.type, "chat", answers=[("Leave with", b""), ("›", b"\x03")]
    )
    assert code == 0, screen
    assert "Traceback" not in screen


async def test_a_job_of_the_chat_is_followed_to_its_result_and_the_talk_goes_on(
    terminal: Terminal,
) -> None:
    code, screen = await asyncio.to_thread(
        terminal.type,
        "chat",
        answers=[
            ("Leave with", b"run users_list as a job\n"),
            ("users_list: running", b""),
            ("admin", b""),
            ("\u203a", b"exit\n"),
        ],
    )
    assert code == 0, screen
    assert "No worker is running, so the job runs here." in screen
